"""Tests TLS to database and storage: the right authority is trusted, another one is rejected with a message."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
import trustme
from forwarder import Forwarder

from middleware.database import Database
from middleware.errors import ServiceRefused
from middleware.storage import open_storage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ours.pem` signed `server.pem`, for 127.0.0.1; `another.pem` signed nothing."""
    folder = tmp_path_factory.mktemp("pki")
    ours = trustme.CA()
    issued = ours.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    ours.cert_pem.write_to_path(folder / "ours.pem")
    trustme.CA().cert_pem.write_to_path(folder / "another.pem")
    return folder


@pytest.fixture(scope="module")
def tls_database(pki: Path) -> Iterator[str]:
    """The URL of a separate MariaDB server that requires TLS."""
    if not shutil.which("mariadbd"):
        pytest.skip("mariadbd is not installed here: no server to be started with TLS")
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        folder = Path(name)
        shutil.copy(pki / "server.pem", folder)
        owner = ["--user=mysql"] if os.geteuid() == 0 else []
        if owner:
            folder.chmod(0o755)
            shutil.chown(folder, "mysql")
            shutil.chown(folder / "server.pem", "mysql")
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", *owner, f"--datadir={folder}/data", "--skip-test-db",
             "--auth-root-authentication-method=normal"], check=True, capture_output=True,
        )  # fmt: skip
        server = subprocess.Popen(
            ["mariadbd", "--no-defaults", *owner, f"--datadir={folder}/data", f"--socket={folder}/sock",
             f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={folder}/pid", "--skip-log-bin",
             "--require-secure-transport=ON",
             f"--ssl-cert={folder}/server.pem", f"--ssl-key={folder}/server.pem"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            make = "CREATE DATABASE offload; CREATE USER o@'%' IDENTIFIED BY 'p'; GRANT ALL ON *.* TO o@'%'"
            until = time.monotonic() + 60
            while subprocess.run(
                ["mariadb", "--no-defaults", "-uroot", "-S", folder / "sock", "-e", make], capture_output=True
            ).returncode:
                assert time.monotonic() < until
                assert server.poll() is None
                time.sleep(0.1)
            yield f"mysql+pymysql://o:p@127.0.0.1:{port}/offload"
        finally:
            server.terminate()
            server.wait(30)


def test_a_database_behind_tls_is_used_with_its_authority_and_not_without(tls_database: str, pki: Path) -> None:
    database = Database.connect(f"{tls_database}?ssl_ca={pki}/ours.pem")
    database.migrate()
    database.check_schema()
    with database.reading() as connection:
        _, cipher = connection.execute(sa.text("SHOW STATUS LIKE 'Ssl_cipher'")).one()
    assert cipher, "the connection is not encrypted"
    database.close()
    database = Database.connect(f"{tls_database}?ssl_ca={pki}/another.pem")
    with pytest.raises(ServiceRefused) as refused:  # what is unavailable would be tried for two minutes
        database.check_schema()
    assert "certificate verify failed" in refused.value.service_message
    database.close()


class TlsForwarder(Forwarder):
    """A forwarder that adds TLS to a server without it, as a gateway does."""

    def __init__(self, host: str, port: int, certificate: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        super().__init__(host, port)

    def accepted(self, here: socket.socket) -> socket.socket:
        return self._context.wrap_socket(here, server_side=True)


@pytest.mark.hdfs
def test_a_storage_behind_tls_is_used_with_its_authority_and_not_without(hdfs_url: str, pki: Path) -> None:
    parts = urlsplit(hdfs_url.removeprefix("hdfs+"))
    forwarder = TlsForwarder(parts.hostname or "", parts.port or 0, pki / "server.pem")
    url = f"hdfs+https://127.0.0.1:{forwarder.port}{parts.path}"
    storage = open_storage(f"{url}?authority={pki}/ours.pem", None)
    storage.write("a/b", b"behind TLS")
    assert storage.read("a/b") == open_storage(hdfs_url, None).read("a/b") == b"behind TLS"
    for options in (f"?authority={pki}/another.pem", ""):
        began = time.monotonic()
        with pytest.raises(ServiceRefused, match=r"TLS failed .*certificate.*authority=FILE"):
            open_storage(url + options, None).read("a/b")
        assert time.monotonic() - began < 10, "it was tried again and again"
    with suppress(OSError):
        forwarder.cut()


def test_an_authority_that_is_no_file_is_refused(tmp_path: Path) -> None:
    for url in ("hdfs+https://h:9871/x?authority=/nowhere", "hdfs+http://h:9870/x?authority=/nowhere"):
        with pytest.raises(ValueError, match=r"existing PEM file.*got /nowhere"):
            open_storage(url, None)
