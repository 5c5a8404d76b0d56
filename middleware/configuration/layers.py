"""Builds settings from layers, weakest first: defaults, preset, file, environment, command line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from middleware.configuration.documents import Document, read_document, read_value
from middleware.configuration.live_settings import nested
from middleware.configuration.passwords import refuse_password, with_passwords
from offload.explanations import KeyPath, shown, unknown_name
from offload.presets import PRESETS
from offload.settings import Settings, SettingsError, resolve_settings

_PREFIX = "OFFLOAD_"
_TOP_LEVEL = tuple(name for name, value in Settings() if not isinstance(value, BaseModel))
"""Settings outside any section: `OFFLOAD_SEED`, `OFFLOAD_LOG_LEVEL`. (`OFFLOAD_NODE`, a pod's index, is not one.)"""


class Layer(NamedTuple):
    """Nested settings. origins: where each value comes from, by its path, for messages ("OFFLOAD_SEED")."""

    values: dict[str, Any]
    origins: Mapping[KeyPath, str] = {}


def load_settings(
    preset: str | None = None,
    file: Path | None = None,
    sets: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings that result from all layers, with the passwords of the services.

    sets: texts `section.key=value`, with YAML values
    Raises SettingsError that names where a layer is wrong.
    """
    here = os.environ if environment is None else environment
    layers = [
        *_file_layers(preset, Document(None) if file is None else _read_file(file), str(file)),
        environment_layer(here),
        command_line_layer(sets),
    ]
    return with_passwords(_resolved(layers), here)


def settings_in(content: bytes, where: str) -> Settings:
    """The settings of one file, over the defaults and the preset that it names. No other layer applies.

    Raises SettingsError that names `where`.
    """
    return _resolved(_file_layers(None, read_document(content, where), where))


def _resolved(layers: Sequence[Layer]) -> Settings:
    def origin(path: KeyPath) -> str | None:
        for layer in reversed(layers):
            for length in range(len(path), 0, -1):
                found: str | None = layer.origins.get(path[:length])
                if found is not None:
                    return found
        return None

    return resolve_settings([layer.values for layer in layers], origin)


def _file_layers(preset: str | None, content: Document, where: str) -> list[Layer]:
    values = {} if content.values is None else content.values
    if not isinstance(values, dict):
        raise SettingsError(f"{where}: contains {shown(values)}, not settings; write sections such as `network:`")
    own = Layer(
        nested({key: value for key, value in values.items() if key != "preset"}),
        {path: f"{where}, line {line}" for path, line in content.lines.items() if path},
    )
    chosen = preset or values.get("preset")
    if chosen is None:
        return [own]
    if not isinstance(chosen, str) or chosen not in PRESETS:
        raise SettingsError(f"preset: {unknown_name('preset', chosen, tuple(PRESETS))}")
    return [Layer(PRESETS[chosen]), own]


def _read_file(path: Path) -> Document:
    try:
        return read_document(path.read_bytes(), str(path))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """The layer of the environment: `OFFLOAD_TIME__SLOTS=20` sets `time.slots`.

    Other `OFFLOAD_` variables identify a pod and are not settings. An unknown section is refused later, like any
    unknown key. Raises SettingsError for a misspelt variable.
    """
    flat: dict[str, Any] = {}
    origins: dict[KeyPath, str] = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(_PREFIX) or name.startswith("OFFLOAD_TEST_"):
            continue
        path = name.removeprefix(_PREFIX).lower().replace("__", ".")
        if "__" in name or path in _TOP_LEVEL:
            flat[path] = _value(path, text, f"environment variable {name}")
            origins[tuple(path.split("."))] = name
        elif meant := _meant(path):
            raise SettingsError(f"environment variable {name} is not a setting; did you mean {_PREFIX}{meant.upper()}?")
    return Layer(nested(flat), origins)


def _meant(path: str) -> str | None:
    """The setting that a name without `__` resembles: with a single underscore, or with a typing error."""
    for section, values in Settings():
        if isinstance(values, BaseModel) and path.startswith(f"{section}_"):
            key = path.removeprefix(f"{section}_")
            if key in type(values).model_fields:
                return f"{section}__{key}"
    return next(iter(difflib.get_close_matches(path, sorted(_TOP_LEVEL), 1, 0.85)), None)


def command_line_layer(sets: Sequence[str]) -> Layer:
    """The layer of `--set` texts, such as `["time.slots=20"]`. Raises SettingsError for a text without `=`."""
    flat: dict[str, Any] = {}
    origins: dict[KeyPath, str] = {}
    for text in sets:
        path, equals, value = text.partition("=")
        path = path.strip()
        if not equals or not path:
            raise SettingsError(f"--set {text!r}: write section.key=value, for example --set time.slots=20")
        flat[path] = _value(path, value, f"--set {path}")
        origins[tuple(path.split("."))] = f"--set {path}"
    layer = Layer(nested(flat), origins)
    services = layer.values.get("services")
    for service, url in services.items() if isinstance(services, dict) else ():
        refuse_password(f"services.{service}", str(url))
    return layer


def _value(path: str, text: str, where: str) -> Any:
    if path.startswith("services."):
        # A URL is not parsed as YAML: `database:` would be a mapping, and an error would show the password.
        return text
    return read_value(text, where)
