"""Settings from their layers: defaults < preset < file < (configuration service) < environment < command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from middleware.configuration.hot_keys import nested
from middleware.configuration.passwords import refuse_password, with_passwords
from offload.presets import PRESETS
from offload.settings import Settings, SettingsError, resolve_settings

_PREFIX = "OFFLOAD_"
_TOP_LEVEL = tuple(name for name, value in Settings() if not isinstance(value, BaseModel))
"""Settings outside any section: `OFFLOAD_SEED`, `OFFLOAD_LOG_LEVEL`. (`OFFLOAD_NODE` says who a pod is.)"""


def load_settings(
    preset: str | None = None,
    file: Path | None = None,
    sets: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings that the layers make, with the services' passwords. `sets`: texts `section.key=value`, the values as in YAML.

    Raises SettingsError naming where a layer is wrong.
    """
    here = os.environ if environment is None else environment
    return with_passwords(resolve_settings(layers_of(preset, file, sets, here)), here)


def layers_of(
    preset: str | None, file: Path | None, sets: Sequence[str], environment: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The layers above the defaults, weakest first."""
    content = _read_file(file) if file else {}
    return [
        *_file_layers(preset, content),
        environment_layer(os.environ if environment is None else environment),
        command_line_layer(sets),
    ]


def settings_in(content: bytes, where: str) -> Settings:
    """The settings that a file's content makes alone, over the defaults and the preset that it names.

    Raises SettingsError naming `where` it was read.
    """
    return resolve_settings(_file_layers(None, _parsed(content, where)))


def _file_layers(preset: str | None, content: dict[str, Any]) -> list[dict[str, Any]]:
    own = {key: value for key, value in content.items() if key != "preset"}
    chosen = preset or content.get("preset")
    if chosen is None:
        return [own]
    if not isinstance(chosen, str) or chosen not in PRESETS:
        raise SettingsError(f"preset: there is no preset {chosen!r}; there are {', '.join(PRESETS)}")
    return [PRESETS[chosen], own]


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None


def _parsed(content: bytes, where: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where}: is not YAML: {error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError(f"{where}: holds a {type(data).__name__}, not settings; write sections such as `network:`")
    return nested({str(key): value for key, value in data.items()})


def environment_layer(environment: Mapping[str, str]) -> dict[str, Any]:
    """`OFFLOAD_TIME__SLOTS=20` sets `time.slots`. Others say who a pod is; they are not settings.

    A section that does not exist is refused later, by its path, like any unknown key.
    """
    flat = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(_PREFIX) or name.startswith("OFFLOAD_TEST_"):
            continue
        path = name.removeprefix(_PREFIX).lower().replace("__", ".")
        if "__" in name or path in _TOP_LEVEL:
            flat[path] = _value(path, text, f"the environment's {name}")
    return nested(flat)


def command_line_layer(sets: Sequence[str]) -> dict[str, Any]:
    """`["time.slots=20"]` as nested settings. Raises SettingsError for a text without `=`."""
    flat = {}
    for text in sets:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise SettingsError(f"--set {text!r}: write section.key=value, for example --set time.slots=20")
        flat[path.strip()] = _value(path.strip(), value, f"--set {path.strip()}")
    layer = nested(flat)
    services = layer.get("services")
    for service, url in services.items() if isinstance(services, dict) else ():
        refuse_password(f"services.{service}", str(url))
    return layer


def _value(path: str, text: str, where: str) -> Any:
    if path.startswith("services."):
        # A URL as it is: `database:` is a mapping in YAML, and a password may hold anything, and is not to be shown.
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{where}: {text!r} is not a value in YAML: {error}") from None
