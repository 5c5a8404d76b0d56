"""What goes wrong with a service, as types. Every adapter translates its client's errors into these.

A caller decides by the type alone: ServiceUnavailable may be tried again (`patience.py`), ServiceRefused may not.
"""

from __future__ import annotations


class ServiceError(Exception):
    """A service did not do what it was asked. The message names the service and holds no secret and no row.

    said: the service's own words in one line, empty where there are none. They may hold values: show them to the
        person who runs a command, and do not log them.
    """

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said

    @property
    def in_full(self) -> str:
        """The message, with the service's own words."""
        return f"{self}: {self.said}" if self.said else str(self)


class ServiceUnavailable(ServiceError):
    """Temporary: the service does not answer, or cannot work now. The same call may succeed later."""


class ServiceRefused(ServiceError):
    """Permanent: a wrong statement, right, account or certificate. The same call would fail again."""


class ValueRefused(ServiceRefused):
    """The service never takes one of the values. It may take the same call without that value."""
