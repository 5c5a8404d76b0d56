"""Adds the passwords to the URLs of the services, from the environment or from files (`middleware/secrets.py`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from middleware.secrets import read_secret
from offload.settings import Settings, SettingsError, redacted

SECRETS = {
    "database": "DATABASE_PASSWORD",
    "storage": "STORAGE_PASSWORD",
    "registry": "NACOS_PASSWORD",
    "configuration": "NACOS_PASSWORD",
}
_USER_ALONE = re.compile(r"^([^/]*//[^:/@]+)@")


def with_passwords(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """The settings, with the password of each service added after `user` in its URL, if a secret is set.

    Raises SettingsError that names the wrong variable.
    """
    urls = {}
    for service, name in SECRETS.items():
        url = getattr(settings.services, service)
        password = read_secret(environment, name)
        if password is not None:
            user = _USER_ALONE.match(url)
            if user is not None:
                url = f"{user[1]}:{quote(password, safe='')}@{url[user.end() :]}"
        urls[service] = url
    return settings.model_copy(update={"services": settings.services.model_copy(update=urls)})


def refuse_password(path: str, url: str) -> None:
    """Raise SettingsError for a URL on the command line that contains a password."""
    service = path.removeprefix("services.")
    if redacted(url) != url and service in SECRETS:
        raise SettingsError(
            f"{path}: every user of this machine can read a password on a command line; "
            f"write {redacted(url).replace(':***', '')}, and set OFFLOAD_{SECRETS[service]} to the password, "
            f"or OFFLOAD_{SECRETS[service]}_FILE to a file that contains it"
        )
