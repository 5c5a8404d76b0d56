"""Translates database errors into the types of `middleware.errors`: unavailable, refused value, or refused call.

By default an error is temporary. Servers have hundreds of temporary errors (read only, quotas, timeouts, full disks,
clusters without a quorum), and each version adds some. So this module lists the *permanent* ones: those about the
statement, the data, the tables, the account or the certificate.
"""

from __future__ import annotations

import re
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from middleware.errors import ServiceError, ServiceRefused, ServiceUnavailable, ValueRefused
from offload.errors import UserError

_ACCOUNT: Final = frozenset(
    # Access denied (to the database, a table, a column or a routine, or a missing privilege), host not allowed, account
    # locked, password expired, unknown authentication method, TLS required.
    {1044, 1045, 1130, 1142, 1143, 1227, 1251, 1275, 1370, 1410, 1524, 1698, 1820, 1862, 3118, 3159, 4151}
    | {2026, 2049, 2054, 2058, 2059, 2061}
)
_STATEMENT: Final = frozenset(
    # Unknown database, table, column, key, variable, engine, character set or collation; existing objects; syntax.
    {1007, 1046, 1049, 1050, 1051, 1052, 1054, 1055, 1060, 1061, 1063, 1064, 1065, 1066, 1067, 1068, 1069, 1070, 1071}
    | {1072, 1075, 1091, 1101, 1103, 1109, 1110, 1112, 1113, 1115, 1136, 1146, 1149, 1166, 1170, 1171, 1191, 1193, 1210}
    | {1221, 1222, 1231, 1232, 1235, 1238, 1239, 1242, 1243, 1246, 1248, 1250, 1253, 1267, 1273, 1286, 1304, 1305, 1318}
    | {1327, 1364, 1390}
)
_VALUE: Final = frozenset(
    # A packet or row that is too large; a value that is out of range, too long, of a wrong type or character set, or
    # violates a constraint.
    {1118, 1153, 1264, 1265, 1292, 1300, 1365, 1366, 1367, 1406, 1411, 1690, 3140, 3819, 4025}
)
_CONTENTION: Final = frozenset({1205, 1213})
_GOING_DOWN: Final = frozenset({1053, 1927})
"""Error codes of a server that shuts down or closes the connection: it answers, but is unavailable."""


class SchemaError(UserError):
    """The tables do not have the schema version that this code needs. The message says what to do."""


class ConstraintRefused(ValueRefused):
    """A row violates a constraint, mostly because another process wrote it first."""


@contextmanager
def service_errors() -> Iterator[None]:
    """Raise database errors inside the block as ServiceError.

    Other SQLAlchemy errors pass unchanged, because they are defects of this program (a statement that does not
    compile, a missing row where one was expected).
    """
    try:
        yield
    except (StatementError, PoolTimeoutError) as error:
        # Without the cause, because its text contains the statement and rows. The traceback contains neither.
        raise translated(error).with_traceback(error.__traceback__) from None


def translated(error: StatementError | PoolTimeoutError) -> ServiceError:
    """The error as a ServiceError."""
    if is_unavailable(error):
        return ServiceUnavailable(f"the database cannot be used now ({reason(error)})", _service_message(error))
    kind: type[ServiceRefused] = ServiceRefused
    if isinstance(error, IntegrityError):
        kind = ConstraintRefused
    elif _refuses_value(error):
        kind = ValueRefused
    return kind(f"the database refuses the request ({reason(error)})", _service_message(error))


def is_unavailable(error: BaseException) -> bool:
    """Whether the error is temporary: the same call may succeed later."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    original: Any = error.orig
    if isinstance(original, sqlite3.Error):
        # SQLITE_ERROR means a wrong statement. An unknown code counts as temporary.
        return isinstance(original, sqlite3.OperationalError) and _sqlite_code(original) != sqlite3.SQLITE_ERROR
    if _is_untrusted(getattr(original, "original_exception", None)):
        return False
    services = isinstance(error, OperationalError | InterfaceError | InternalError) or type(error) is DBAPIError
    return services and _code(error) not in _ACCOUNT | _STATEMENT | _VALUE


def _refuses_value(error: BaseException) -> bool:
    """Whether the database refuses a value. It may then accept the other records."""
    if isinstance(error, DataError | IntegrityError):
        return True
    if isinstance(error, DBAPIError):
        # The driver refuses an infinity itself, without a code.
        unsent = isinstance(error, ProgrammingError) and not isinstance(error.orig, sqlite3.Error)
        return _code(error) in _VALUE or (unsent and _code(error) is None)
    return True  # Python raises this for a value of a wrong type


def is_contention(error: BaseException) -> bool:
    """Whether two transactions conflict (lock timeout or deadlock). The server works then."""
    return isinstance(error, DBAPIError) and _code(error) in _CONTENTION


def still_answers(error: BaseException) -> bool:
    """Whether the database answers and refuses only some requests. Other calls may succeed meanwhile."""
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return False
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_code(error.orig) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
    code = _code(error)
    return code is not None and (1000 <= code < 2000 or code >= 3000) and code not in _GOING_DOWN


def reason(error: BaseException) -> str:
    """The error's type and code. The driver's text is left out, because it may contain rows or a password."""
    original = getattr(error, "orig", None)
    code = getattr(original, "sqlite_errorname", None) or _code(error)
    return type(error).__name__ if code is None else f"{type(error).__name__} {code}"


def _service_message(error: BaseException) -> str:
    """The driver's message in one line, without its code, the statement and the parameters."""
    original = getattr(error, "orig", None)
    if original is None:
        return ""
    return re.sub(r"\s+", " ", str(original.args[-1] if original.args else original))


def _code(error: BaseException) -> int | None:
    """The driver's error code; None if there is none."""
    original = getattr(error, "orig", None)
    code = original.args[0] if original is not None and original.args else None
    return code if isinstance(code, int) else None


def _sqlite_code(error: BaseException) -> int | None:
    """SQLite's primary error code; None if the driver itself raised the error."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def _is_untrusted(cause: object) -> bool:
    """Whether TLS failed permanently. An interrupted handshake is temporary: the server became unavailable."""
    broke_off = ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError
    return isinstance(cause, ssl.SSLError) and not isinstance(cause, broke_off)
