"""Applies changes, flat or nested, to the live settings, and validates the result. Validates stored records."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from middleware.configuration.port import LARGEST_REVISION, LiveSettings
from offload.explanations import shown
from offload.settings import Settings, SettingsError, merge_layers, resolve_settings

LIVE_SECTIONS = tuple(Settings().live())


def nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Turns `{"scheduler.name": "rda"}` into `{"scheduler": {"name": "rda"}}`. Nested mappings stay as they are.

    Raises SettingsError if a key is given twice, or with both a value and keys below it.
    """
    result: dict[str, Any] = {}
    for path, value in changes.items():
        *sections, key = path.split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise SettingsError(f"{path}: {section} is also given a value; write one of the two")
        if key in place:
            raise SettingsError(f"{path}: is given twice, as a whole and by keys below it; write one of the two")
        place[key] = copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value
    return result


def edited(last: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that differ. The scheduler is one section: name, parameters and model are written together."""
    return {section: value for section, value in now.items() if last.get(section) != value}


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The live settings after the changes. A new scheduler starts without the parameters of the previous one.

    A mapping for `scheduler.parameters` replaces all parameters. `scheduler.parameters.threshold_s` sets one.
    Raises SettingsError for a key that is not a live setting, an unknown key, or an impossible value.
    """
    layer = nested(changes)
    for section in layer:
        if section not in LIVE_SECTIONS:
            raise SettingsError(
                f"{section}: is not a live setting: it is fixed for a run; "
                f"the live settings are {', '.join(LIVE_SECTIONS)} and the keys below them"
            )
    base = copy.deepcopy(dict(values))
    if _gives_all_parameters(changes) and isinstance(base.get("scheduler"), dict):
        base["scheduler"].pop("parameters", None)
    return resolve_settings([merge_layers([base, layer])]).live()


def stored_record(revision: Any, values: Any, written_by: Any, written_at: Any, origins: Any) -> LiveSettings:
    """The record that a service stores. Raises SettingsError for one that this version cannot use."""
    if type(revision) is not int or not 1 <= revision <= LARGEST_REVISION:
        raise SettingsError(f"revision: {shown(revision)} is not a whole number from 1 to {LARGEST_REVISION}")
    if not isinstance(values, dict):
        raise SettingsError(f"{shown(values)} is not an object with the keys {', '.join(LIVE_SECTIONS)}")
    missing = [section for section in LIVE_SECTIONS if section not in values]
    if missing:
        raise SettingsError(f"{missing[0]}: is missing; the live settings need {', '.join(LIVE_SECTIONS)}")
    changed({}, values)
    if not isinstance(origins, dict) or not all(isinstance(one, dict) for one in origins.values()):
        raise SettingsError(f"origins: {shown(origins)} is not an object of objects; write {{}}")
    if not isinstance(written_by, str):
        raise SettingsError(f"written_by: {shown(written_by)} is not a text")
    if type(written_at) not in (int, float) or not math.isfinite(written_at):
        raise SettingsError(f"written_at: {shown(written_at)} is not a number of seconds")
    record = LiveSettings(revision, values, written_by, float(written_at), origins)
    try:
        _ = record.scheduler
    except ValueError as wrong:
        raise SettingsError(str(wrong)) from None
    return record


def _gives_all_parameters(changes: Mapping[str, Any]) -> bool:
    section = changes.get("scheduler")
    return "scheduler.parameters" in changes or (isinstance(section, Mapping) and "parameters" in section)
