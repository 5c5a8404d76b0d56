"""Parses the address on which a server listens, and finds the address at which other pods reach it (IPv4 and IPv6)."""

from __future__ import annotations

import ipaddress
import socket

from offload.settings import SettingsError

_IPV4, _IPV6 = "0.0.0.0", "::"  # noqa: S104
_LARGEST_PORT = 65535


def bound(bind: str) -> tuple[str, int]:
    """The address without brackets, and the port, of OFFLOAD_BIND: `host:port` or `[IPv6]:port`. Raises SettingsError.

    Port 0 means a free port. `[::]` means all addresses, also of IPv4; without IPv6 in the kernel it becomes `0.0.0.0`.
    """
    host, colon, port = bind.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5 or int(port) > _LARGEST_PORT:
        raise SettingsError(f"OFFLOAD_BIND={bind!r}: write host:port or [IPv6]:port; port 0 chooses a free one")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise SettingsError(f"OFFLOAD_BIND={bind!r}: write an IPv6 address in brackets, as [::1]:{port}")
    try:
        address = _resolved(host or _IPV4, socket.AF_UNSPEC)
    except OSError as unknown:
        raise SettingsError(f"OFFLOAD_BIND={bind!r}: {host} cannot be resolved: {unknown}") from None
    if ipaddress.ip_address(address).is_link_local and ":" in address:
        raise SettingsError(
            f"OFFLOAD_BIND={bind!r}: {host} is valid on one link only; write an address that others can use"
        )
    return (_IPV4 if address == _IPV6 and not _has_ipv6() else address), int(port)


def loopback_beside(bind: str) -> str:
    """The loopback address with port 0, in the address family of OFFLOAD_BIND, for processes of this machine only."""
    address, _ = bound(bind)
    return "[::1]:0" if ":" in address and address != _IPV6 else "127.0.0.1:0"


def reachable_address(host: str, port: int, scheme: str = "http") -> str:
    """`scheme://host:port` of a listening socket, for other pods.

    For a socket that listens on all addresses, this is the address of the machine's name, which in a pod is the pod's.
    Raises SettingsError if the machine's name has no address.
    """
    if host in (_IPV4, _IPV6):
        try:
            host = _resolved(socket.gethostname(), socket.AF_INET if host == _IPV4 else socket.AF_UNSPEC)
        except OSError as error:
            raise SettingsError(
                f"OFFLOAD_BIND: {host}:{port} means all addresses, but '{socket.gethostname()}' cannot be resolved: "
                f"{error}; bind to the address at which other pods reach this machine"
            ) from None
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _resolved(name: str, family: int) -> str:
    """An address of a name, preferably IPv4. Raises OSError, also for an invalid name."""
    try:
        found = [str(address[0]) for *_, address in socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)]
    except UnicodeError as impossible:
        raise OSError(f"{name!r} is not a valid host name") from impossible
    return min(found, key=lambda address: ":" in address)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((_IPV6, 0))
    except OSError:
        return False
    return True
