"""Defines the errors of services. Every adapter translates its client's errors into these types.

A caller decides by the type alone. It may retry after ServiceUnavailable (`retrying.py`), but not after ServiceRefused.
"""

from __future__ import annotations


class ServiceError(Exception):
    """A service did not execute a call. The message names the service, and contains no secret and no row.

    service_message: the service's own message in one line; empty if there is none. It may contain values: show it to
        the user of a command, but do not log it.
    """

    def __init__(self, message: str, service_message: str = "") -> None:
        super().__init__(message)
        self.service_message = service_message

    @property
    def in_full(self) -> str:
        """The message, followed by the service's own message."""
        return f"{self}: {self.service_message}" if self.service_message else str(self)


class ServiceUnavailable(ServiceError):
    """Temporary error: the service does not answer, or cannot work now. The same call may succeed later."""


class ServiceRefused(ServiceError):
    """Permanent error: wrong statement, account or certificate, or missing right. The same call would fail again."""


class ValueRefused(ServiceRefused):
    """The service never accepts one of the values. It may accept the same call without that value."""
