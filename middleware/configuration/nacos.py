"""Stores the live settings in Nacos (`nacos://…`), as a JSON configuration that users may edit in Nacos' console.

The configuration is named `<run>.live.json`. It contains the live settings, a revision, the writer, and a digest.

* Edits: a user who edits the settings leaves the digest unchanged, so that the two no longer match. The run's
  controller (`owner`) then creates a revision, or logs what is wrong. All other processes ignore such content.
* Rollback: content with an older revision, restored from the console's history, counts as an edit.
* Data loss: if content is older or missing after Nacos was unavailable, the owner writes the last revision again.

An earlier version named the configuration `<run>.hot.json`. If there is no `<run>.live.json` yet, `create` moves the
content. Then it removes the former configuration.

Concurrency: any thread may call the methods. `_lock` admits one at a time, also while it waits for Nacos. Between
processes there is no lock: only the owner and the console write. If a console edit and a change happen at the same
time, the later write stays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from middleware.configuration.live_settings import LIVE_SECTIONS, changed, edited, stored_record
from middleware.configuration.port import LARGEST_REVISION, LiveSettings, NoLiveSettings
from middleware.configuration.watching import watch_record
from middleware.nacos import NacosServer
from offload.settings import SettingsError

CONSOLE = "the Nacos console"
_END, _FORMER_END = ".live.json", ".hot.json"

_logger = logging.getLogger(__name__)


class NacosConfiguration:
    """See `middleware.configuration.port.Configuration`. Every method raises ServiceError."""

    def __init__(self, url: str, owner: bool = False) -> None:
        self._server = NacosServer(url, "configuration")
        self._owner = owner
        self._lock = threading.RLock()
        self._good: dict[str, LiveSettings] = {}
        self._complained: dict[str, str] = {}
        self._outage_count = 0

    def read(self, run_name: str) -> LiveSettings | None:
        """See `Configuration.read`. Until the owner has processed an edit, this returns the record before the edit."""
        with self._lock:
            content = self._get(run_name)
            known, parsed = self._good.get(run_name), None if content is None else _parsed(content)
            outage_count, self._outage_count = self._outage_count, self._server.outage_count
            if known is None and content is None:
                return None
            if known is not None and (content is None or (parsed is not None and parsed.revision < known.revision)):
                if not self._owner:
                    return known
                if content is None or outage_count != self._outage_count:
                    _logger.warning("Nacos has lost revision %d of %s; writing it again", known.revision, run_name)
                    return self._put(run_name, known)
                parsed = None
            if parsed is not None:
                self._good[run_name] = parsed
            elif self._owner and content is not None:
                self._adopt(run_name, content)
            return self._good.get(run_name)

    def create(self, run_name: str, values: Mapping[str, Any], by: str) -> LiveSettings:
        """See `Configuration.create`."""
        with self._lock:
            there = self._take_former(run_name, self.read(run_name))
            return there if there is not None else self._put(run_name, LiveSettings(1, dict(values), by, time.time()))

    def change(self, run_name: str, changes: Mapping[str, Any], by: str) -> LiveSettings:
        """See `Configuration.change`."""
        with self._lock:
            record = self.read(run_name)
            if record is None:
                raise NoLiveSettings(
                    f"the live settings of run '{run_name}' do not exist yet; the controller creates them"
                )
            values = changed(record.values, changes)
            if values == record.values:
                return record
            return self._put(run_name, LiveSettings(record.revision + 1, values, by, time.time(), record.origins))

    def adopt(self, run_name: str, values: Mapping[str, Any], origin: str) -> LiveSettings | None:
        """See `Configuration.adopt`."""
        with self._lock:
            record = self.read(run_name)
            if record is None:
                raise NoLiveSettings(
                    f"the live settings of run '{run_name}' do not exist yet; the controller creates them"
                )
            last = record.origins.get(origin)
            wanted = changed(record.values, {} if last is None else edited(last, values))
            origins = {**record.origins, origin: dict(values)}
            if wanted != record.values:
                return self._put(run_name, LiveSettings(record.revision + 1, wanted, origin, time.time(), origins))
            if origins != record.origins:
                self._put(run_name, replace(record, origins=origins))
            return None

    def watch(
        self, run_name: str, callback: Callable[[LiveSettings], None], interval_s: float = 1.0
    ) -> Callable[[], None]:
        """See `Configuration.watch`. The owner's watch notices the edits in the console."""
        return watch_record(lambda: self.read(run_name), callback, interval_s)

    def version(self) -> str:
        """The version that the server reports."""
        return self._server.version()

    def _adopt(self, run_name: str, content: str, end: str = _END) -> None:
        """Create a revision from an edit. A wrong edit is logged once and changes nothing."""
        last, data_id = self._good.get(run_name), _data_id(run_name, end)
        if self._complained.get(run_name) == content:
            return
        try:
            found = json.loads(content)
            base = found.get("revision") if isinstance(found, dict) else None
            if not isinstance(base, int):
                raise SettingsError("it must be a JSON object with an integer `revision`")
            if base >= LARGEST_REVISION:
                raise SettingsError(f"revision: {base} is not below {LARGEST_REVISION}; write the revision before it")
            values = changed({}, {key: found[key] for key in LIVE_SECTIONS if key in found})
        except (SettingsError, ValueError, RecursionError) as wrong:
            self._complained[run_name] = content
            stays = "the last good live settings stay" if last else "it is not used"
            _logger.error("the edit of %s in Nacos is wrong; %s:\n%s", data_id, stays, wrong)
            return
        revision = max(base, last.revision if last else 0) + 1
        origins = last.origins if last else _origins(found)
        self._put(run_name, LiveSettings(revision, values, CONSOLE, time.time(), origins))
        _logger.info("%s was edited in Nacos: the live settings are at revision %d", data_id, revision)

    def _get(self, run_name: str, end: str = _END) -> str | None:
        content: str | None = self._server.call(
            f"reading the live settings of {run_name}",
            lambda client: client.get_config(_data_id(run_name, end), self._server.group, no_snapshot=True),
        )
        return content

    def _take_former(self, run_name: str, there: LiveSettings | None) -> LiveSettings | None:
        """Move the record `<run>.hot.json` of an earlier version to the place of `there`, if that is None.

        Returns the record at that place. An edited record counts as an edit. A wrong edit stays where it is, and so
        does one that comes after the move: an error is logged. A copy that an earlier controller wrote after the move
        is removed.
        """
        former, content = _data_id(run_name, _FORMER_END), self._get(run_name, _FORMER_END)
        if content is None:
            return there
        record = _parsed(content)
        if there is not None:
            if record is None:
                _logger.error("%s in Nacos was edited and is not used; edit %s", former, _data_id(run_name))
                return there
        elif record is not None:
            there = self._put(run_name, record)
        else:
            self._adopt(run_name, content, _FORMER_END)
            there = self._good.get(run_name)
            if there is None:
                return None
        self._server.call(
            f"removing the former live settings of {run_name}",
            lambda client: client.remove_config(former, self._server.group),
        )
        _logger.info("removed %s from Nacos: the live settings are in %s", former, _data_id(run_name))
        return there

    def _put(self, run_name: str, record: LiveSettings) -> LiveSettings:
        content = json.dumps(
            {
                **record.values,
                "revision": record.revision,
                "written_by": record.written_by,
                "written_at": record.written_at,
                "origins": record.origins,
                "digest": _digest(record.values),
            },
            indent=2,
        )
        self._server.call(
            f"writing the live settings of {run_name}",
            lambda client: client.publish_config(_data_id(run_name), self._server.group, content, config_type="json"),
        )
        self._good[run_name] = record
        return record


def _data_id(run_name: str, end: str = _END) -> str:
    """The configuration's name. Nacos accepts only letters, digits and `._:-`; other characters become `:hex:`."""
    return re.sub(r"[^A-Za-z0-9._-]", lambda other: f":{ord(other[0]):x}:", run_name) + end


def _origins(content: Mapping[str, Any]) -> dict[str, Any]:
    """What each origin wrote last, from a content that a user may have edited."""
    found = content.get("origins")
    return dict(found) if isinstance(found, dict) else {}


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _parsed(content: str) -> LiveSettings | None:
    """The record in a content that this version wrote. None for an edit, or another program's record."""
    try:
        data = json.loads(content)
        values = {key: data[key] for key in LIVE_SECTIONS}
        if data["digest"] != _digest(values):
            return None
        return stored_record(data["revision"], values, data["written_by"], data["written_at"], data.get("origins", {}))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
