"""Secrets: from an environment variable, or from the file that one names. Never from a command line, never logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from offload.settings import SettingsError


def read_secret(environment: Mapping[str, str], name: str) -> str | None:
    """The value of `OFFLOAD_<NAME>`, or the content of the file in `OFFLOAD_<NAME>_FILE` without its last line break; None: neither.

    Raises SettingsError naming the variable: both are set, the file cannot be read, or what is there is empty.
    """
    variable = f"OFFLOAD_{name}"
    given, file = environment.get(variable), environment.get(f"{variable}_FILE")
    if given is not None and file is not None:
        raise SettingsError(f"{variable} and {variable}_FILE are both set; leave one of them out")
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
