"""Reads secrets from environment variables or from files that variables name. Secrets are never logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from offload.settings import SettingsError


def read_secret(environment: Mapping[str, str], name: str) -> str | None:
    """The value of `OFFLOAD_<NAME>`, or the content of the file in `OFFLOAD_<NAME>_FILE` without its last line break.

    None if neither variable is set. Raises SettingsError that names the variable if both are set, the file cannot be
    read, or the secret is empty.
    """
    variable = f"OFFLOAD_{name}"
    given, file = environment.get(variable), environment.get(f"{variable}_FILE")
    if given is not None and file is not None:
        raise SettingsError(f"{variable} and {variable}_FILE are both set; unset one of them")
    if given is None and file is None:
        return None
    if file is not None:
        try:
            given = Path(file).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingsError(f"{variable}_FILE={file}: cannot be read: {why}") from None
    if not given:
        raise SettingsError(f"{variable}{'_FILE' if file else ''}: the secret is empty; set it, or unset the variable")
    return given
