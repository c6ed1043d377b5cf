"""Where messages may be sent: URLs when an endpoint is created, and addresses at each connection. Pure.

A client chooses the URL, and its name server the address. So the check of the address decides, at the moment
of the connection.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_CHARACTERS_MAX: Final = 2_000
_PORT = "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
_HOST = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
URL_PATTERN: Final = rf"^https?://{_HOST}(\.{_HOST})*{_PORT}([/?][!\"$-~]*)?$"
"""A host name or an IPv4 address, perhaps a port, and a path or query without spaces and `#`."""

_NEVER: Final = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's services inside each virtual machine, on a public address.
        "192.0.0.0/24",  # Protocols, and Oracle's metadata service.
        "2001::/23",  # Protocols, and Teredo, which leads to an IPv4 address.
        "3fff::/20",  # Documentation.
        "64:ff9b:1::/48",  # Translation to IPv4 addresses by a network's own rule.
        "fec0::/10",  # Private addresses, now replaced by fc00::/7.
    )
)
_NAT64: Final = ip_network("64:ff9b::/96")


def check_url(url: str, networks: Sequence[Network]) -> str:
    """The URL, if an endpoint may have it. `networks` are those that an operator has named. An address in the
    URL is checked at once, the addresses of a host name at each connection. Raises ValueError with the rule,
    as the end of "… must …"."""
    if len(url) > URL_CHARACTERS_MAX:
        raise ValueError(f"have at most {URL_CHARACTERS_MAX:,} characters")
    if re.fullmatch(URL_PATTERN, url) is None:
        raise ValueError(
            "be a URL such as https://example.com/callfold: with a host name or an IPv4 address, without a "
            "user, a password and a fragment"
        )
    encrypted = url.startswith("https:")
    if not encrypted and not networks:
        raise ValueError("begin with https://")
    host = urlsplit(url).hostname or ""
    if _is_address(host) and not is_allowed(host, networks, encrypted=encrypted):
        raise ValueError(
            "lead to a public address with https://, or to a network that the operator has allowed"
        )
    return url


def _is_address(host: str) -> bool:
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True


def is_allowed(address: str, networks: Sequence[Network], *, encrypted: bool) -> bool:
    """Whether messages may be sent to this IP address: to a public one with TLS, and to one in the named
    networks with or without. An IPv6 address that stands for an IPv4 address is judged by both."""
    said = ip_address(address.partition("%")[0])
    meant = _meant(said)
    if any(each in network for network in networks for each in {said, meant}):
        return True
    return encrypted and _is_public(said, meant)


def _is_public(said: Address, meant: Address) -> bool:
    if any(each in network for network in _NEVER for each in (said, meant)):
        return False
    return meant.is_global and not meant.is_multicast and not meant.is_reserved


def _meant(address: Address) -> Address:
    """The IPv4 address that packets to this IPv6 address reach; otherwise the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
