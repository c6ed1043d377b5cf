"""The address of a request's client: its peer's address, or the one that a trusted proxy reports."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from fastapi import Request

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def client_address(request: Request, trusted_proxies: Sequence[Network]) -> Address | None:
    """The address of the last host on the path that is not a trusted proxy. Only trusted proxies may report
    the host before them, because any client can send X-Forwarded-For. None if the address is unknown."""
    address = _address(request.client.host) if request.client else None
    hops = [hop for header in request.headers.getlist("x-forwarded-for") for hop in header.split(",")]
    while hops and address is not None and is_in(address, trusted_proxies):
        address = _address(hops.pop())
    return address


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    """Whether one of the networks has the address."""
    return any(address in network for network in networks)


def _address(text: str) -> Address | None:
    """An address as proxies write it, with or without a port. IPv4 addresses mapped into IPv6 become IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
