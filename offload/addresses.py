"""Checks the URLs of the services, and removes passwords from them."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"^([^/]*//[^:/@]*):.*@", re.DOTALL)
_PASSWORD_OPTION = re.compile(r"([?&](?:password|passwd)=)[^&]*", re.DOTALL)

HDFS = re.compile(r"hdfs\+(https?)://(?:([^/@]*)@)?([^/@?]+)(/[^?]*)?(?:\?authority=(.+))?", re.DOTALL)
"""Groups: scheme, `user:password`, name nodes, path, file of the certificate authorities."""
NACOS = re.compile(r"nacos://(?:([^/@]*)@)?([^/@?]+)(?:/([\w.-]*))?(?:\?group=([\w.-]+))?", re.DOTALL)
"""Groups: `user:password`, servers, namespace, group."""
# A password may contain any character, also `/` and `@`.
_MYSQL = re.compile(r"mysql\+pymysql://(?:.*@)?([^/@?]+)/([^/?]+)(?:\?.*)?", re.DOTALL)
_PORT = re.compile(r":([^:\]]*)$")
_IN_BRACKETS = re.compile(r"\[[0-9A-Fa-f:.]+(%[0-9A-Za-z._-]+)?\]")

_FORMS: dict[str, tuple[str, tuple[tuple[str, re.Pattern[str]], ...]]] = {
    "database": (
        "sqlite:///PATH or mysql+pymysql://[user@]host[:port]/name",
        (("sqlite:", re.compile(r"sqlite:///(?!:memory:)(.+)", re.DOTALL)), ("mysql+pymysql:", _MYSQL)),
    ),
    "storage": (
        "file:PATH, database:, or hdfs+http://[user@]host:9870/path",
        (
            ("file:", re.compile(r"file:(?://)?([^/].*|/.+)", re.DOTALL)),
            ("database:", re.compile(r"database:")),
            ("hdfs+http", HDFS),
        ),
    ),
    "registry": (
        "database:, or nacos://host:8848[/namespace][?group=name]",
        (("database:", re.compile(r"database:")), ("nacos:", NACOS)),
    ),
    "configuration": (
        "file:, file:PATH, or nacos://host:8848[/namespace][?group=name]",
        (("file:", re.compile(r"file:.*", re.DOTALL)), ("nacos:", NACOS)),
    ),
}


def checked_url(service: str, url: str) -> str:
    """The URL of a service (`database`, `storage`, …), unchanged.

    Raises ValueError that says what is wrong with it. The message does not contain the password.
    """
    right, forms = _FORMS[service]
    form = next((form for scheme, form in forms if url.startswith(scheme)), None)
    if form is None:
        raise ValueError(f"'{redacted(url)}' is not a URL of this service; write {right}")
    match = form.fullmatch(url)
    if match is None:
        raise ValueError(f"'{redacted(url)}' is not complete, or not of this form; write {right}")
    hosts = {HDFS: 3, NACOS: 2, _MYSQL: 1}.get(form)
    for host in match[hosts].split(",") if hosts else ():
        port = _PORT.search(host)
        if port and not (port[1].isdecimal() and 0 < int(port[1]) < 65536):
            raise ValueError(f"'{redacted(url)}': '{port[1]}' is not a port; write a number from 1 to 65535")
        name = _PORT.sub("", host)
        if ":" in name and not name.startswith("["):
            raise ValueError(
                f"'{redacted(url)}': '{name}' is not a host; write IPv6 addresses in brackets, such as [::1]"
            )
        if name.startswith("[") and not _IN_BRACKETS.fullmatch(name):
            raise ValueError(f"'{redacted(url)}': '{name}' is not an IPv6 address in brackets, such as [::1]")
        if not name:
            raise ValueError(f"'{redacted(url)}' names no host; write {right}")
    return url


def redacted(url: str) -> str:
    """A URL without its password, to be logged or stored. The password may contain `/`, `[` and `@`, unescaped."""
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))
