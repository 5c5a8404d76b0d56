"""Runs a pod's HTTP server: cheroot, with limits, and with the token and TLS if they are configured.

Concurrency: cheroot's worker threads run the application. A new connection waits with the idle ones for its first
byte, and the worker that reads it makes the TLS handshake. A client that connects and sends nothing therefore occupies
no worker. A request must arrive completely within seconds, head and body. The deadline thread closes connections with
late requests, so that a client that sends single bytes does not occupy a worker.
"""

from __future__ import annotations

import errno
import json
import logging
import socket
import ssl
import threading
import time
from io import BytesIO
from typing import Any

from cheroot.server import HeaderReader, HTTPConnection, HTTPRequest
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Gateway_10
from cheroot.wsgi import Server as WSGIServer

from middleware.http.access import OPEN, WSGI, Access, guarded
from middleware.http.address import reachable_address
from middleware.http.problems import MEDIA_TYPE, HTTPProblem
from middleware.http.sockets import end_with_the_other, shut_down
from offload.settings import SettingsError

_IDLE_S = 60
_LONGEST_HEADER = 16 * 1024
_KEPT_CONNECTIONS = 10_000
"""Cheroot's default of 10 would close connections after each answer: a node has two to four from each other node."""
_BACKLOG = 1024
"""At an episode's start, all peers connect at the same time, each up to four times. A dropped one retries after 1 s."""
_REQUEST_S, _BYTES_PER_S = 4.0, 256 * 1024
"""Time limit of a request: a base in seconds, and a rate in bytes/s for its body."""
_CHECK_S = 0.5
CONNECTION = "offload.connection"
"""The key of the request's connection in a WSGI environment."""
_CLOSED_AFTER = (400, 408, 411, 413, 414)
_ONLY_ONCE = (b"Content-Length", b"Authorization")

_logger = logging.getLogger(__name__)


class _Headers(dict[bytes, bytes]):
    """A request's headers. Raises ValueError for a second value of a header that may have only one."""

    def __setitem__(self, name: bytes, value: bytes) -> None:
        usual = name.replace(b"_", b"-")  # WSGI does not distinguish the two
        if usual in _ONLY_ONCE and any(other.replace(b"_", b"-") == usual for other in self):
            raise ValueError(f"{usual.decode()} must be given only once, in one line")
        super().__setitem__(name, value)


class _HeaderReader(HeaderReader):
    """Refuses headers whose meaning is ambiguous. Cheroot uses the last value of a repeated header.

    A proxy may use another one: the rest of the body would then be read as the next request (RFC 9112, section 6.3).
    """

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        """Read the headers into `hdict`. Raises ValueError for invalid ones."""
        found = _Headers()
        super().__call__(rfile, found)
        if b"Transfer-Encoding" in found and b"Content-Length" in found:
            raise ValueError("Content-Length and Transfer-Encoding exclude each other; send only Content-Length")
        headers = {} if hdict is None else hdict
        headers.update(found)
        return headers


class PodRequest(HTTPRequest):
    """Answers a malformed request with a problem, and closes the connection, as the next request's start is unknown."""

    header_reader = _HeaderReader()

    def read_request_line(self) -> bool:
        """Whether the request line is valid. An invalid one is refused."""
        try:
            return bool(super().read_request_line())  # type: ignore[no-untyped-call]
        except ValueError:  # brackets without an IPv6 address
            self.simple_response("400 Bad Request", "the request's address cannot be read")
            return False

    def read_request_headers(self) -> bool:
        """Whether the headers are valid. Invalid ones are refused."""
        try:
            if not super().read_request_headers():  # type: ignore[no-untyped-call]
                return False
        except (ValueError, UnboundLocalError):  # cheroot raises these if the first header begins with a space
            self.simple_response("400 Bad Request", "the request's headers cannot be read")
            return False
        if self.chunked_read or b"Transfer-Encoding" in self.inheaders:  # cheroot ignores it in HTTP/1.0
            self.simple_response(
                "411 Length Required", "a body needs Content-Length; Transfer-Encoding is not supported"
            )
            return False
        length = self.inheaders.get(b"Content-Length", b"0")
        if not length.isdigit():
            self.simple_response("400 Bad Request", "Content-Length is not a number of bytes")
            return False
        if self.conn.must_be_here_s is not None:
            self.conn.must_be_here_s += min(int(length), self.server.max_request_body_size) / _BYTES_PER_S
        return True

    def simple_response(self, status: str, msg: str = "") -> None:
        """Answer without the application."""
        status = str(status)
        problem = HTTPProblem(int(status[:3]), status[4:], msg or status[4:])
        content = json.dumps(problem.body()).encode()
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", f"Content-Type: {MEDIA_TYPE}"]
        if problem.status in _CLOSED_AFTER:
            self.close_connection = True
            lines.append("Connection: close")
        try:
            self.conn.wfile.write("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + content)
        except OSError as gone:
            _logger.debug("the client does not receive the answer %s: %s", status, gone)


class PodConnection(HTTPConnection):
    """A client's connection.

    is_new: whether it has not received a byte yet
    must_be_here_s: the deadline of the request that is being read, on the monotonic clock; else None
    """

    RequestHandlerClass = PodRequest
    is_new = True
    must_be_here_s: float | None = None

    def __init__(self, server: _Server, sock: socket.socket, makefile: Any) -> None:
        super().__init__(server, sock, makefile)
        end_with_the_other(sock)

    def communicate(self) -> bool:
        """Read a request and answer it, in a worker thread. Returns False if the connection must be closed."""
        self.must_be_here_s = time.monotonic() + _REQUEST_S
        self.server.reading.add(self)
        try:
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        finally:
            self.has_read()

    def has_read(self) -> None:
        """Report that the request has arrived completely, so that its deadline no longer applies."""
        self.must_be_here_s = None
        self.server.reading.discard(self)

    def cut_off(self) -> None:
        """Shut down the receiving side, so that the worker's read ends. Called by the deadline thread."""
        shut_down(self.socket, socket.SHUT_RD)


class PodGateway(Gateway_10):
    """Reads the whole request before it calls the application."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        """The WSGI environment, with the connection and the completely read body."""
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        environ[CONNECTION] = self.req.conn
        if length := int(environ.get("CONTENT_LENGTH") or 0):
            body = environ["wsgi.input"].read(length)
            if len(body) < length:
                raise BrokenPipeError(errno.EPIPE, "the request's body ends early")
            environ["wsgi.input"] = BytesIO(body)
        self.req.conn.has_read()
        return environ


class _Server(WSGIServer):
    """reading: connections with a request that is being read; used by the workers and the deadline thread"""

    reading: set[PodConnection]

    def cut_off_the_slow(self) -> None:
        """End the connections whose request is late."""
        now = time.monotonic()
        for connection in self.reading.copy():
            until = connection.must_be_here_s
            if until is not None and now > until:
                connection.cut_off()

    def process_conn(self, conn: PodConnection) -> None:
        if conn.is_new:
            conn.is_new = False
            self.put_conn(conn)
        else:
            super().process_conn(conn)

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        # At lower levels cheroot logs every client that disconnects.
        if level >= logging.ERROR:
            _logger.log(level, "%s", msg, exc_info=traceback)


class _TLS(BuiltinSSLAdapter):
    """Moves TLS handshakes to the worker threads. By default, cheroot's accepting thread makes them."""

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        secured = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return secured, {"wsgi.url_scheme": "https", "HTTPS": "on"}


class PodServer:
    """An HTTP server on its own port. `address` is known before `start`."""

    def __init__(
        self,
        host: str,
        port: int,
        threads: int,
        longest_body: int,
        access: Access = OPEN,
        connection: type[PodConnection] = PodConnection,
        gateway: type[PodGateway] = PodGateway,
    ) -> None:
        self._app: WSGI | None = None
        self._access = access
        self._server = _Server(
            (host, port), self._serve, numthreads=threads, timeout=_IDLE_S, request_queue_size=_BACKLOG
        )
        self._server.ConnectionClass, self._server.gateway = connection, gateway
        self._server.reading = set()
        self._server.keep_alive_conn_limit = _KEPT_CONNECTIONS
        self._server.max_request_body_size = longest_body
        self._server.max_request_header_size = _LONGEST_HEADER
        if access.tls is not None:
            adapter = _TLS(str(access.tls.certificate), str(access.tls.key))
            adapter.context.minimum_version = ssl.TLSVersion.TLSv1_2
            # A client would take a session ticket, which arrives without a request, for the start of an answer.
            adapter.context.num_tickets = 0
            self._server.ssl_adapter = adapter
        try:
            self._server.prepare()
        except OSError as refused:
            reason = "another program listens there" if "in use" in str(refused) else refused
            raise SettingsError(f"OFFLOAD_BIND={host}:{port}: {reason}; port 0 chooses a free one") from None
        bound_host, bound_port = self._server.bind_addr[:2]
        self.address = reachable_address(str(bound_host), bound_port, access.scheme)
        self._thread = threading.Thread(target=self._server.serve, name="http", daemon=True)
        self._stopping = threading.Event()
        self._deadline = threading.Thread(target=self._cut_off_the_slow, name="http-deadline", daemon=True)

    def start(self, app: WSGI) -> None:
        """Start answering requests with the application."""
        self._app = guarded(app, self._access)
        self._thread.start()
        self._deadline.start()

    def stop(self) -> None:
        """Stop answering requests, and close the port."""
        self._stopping.set()
        self._server.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _cut_off_the_slow(self) -> None:
        while not self._stopping.wait(_CHECK_S):
            self._server.cut_off_the_slow()

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Any:
        assert self._app is not None
        return self._app(environ, start_response)
