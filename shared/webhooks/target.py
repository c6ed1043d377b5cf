"""Where messages may be sent: URLs when an endpoint is created, and addresses at each connection. Pure.

A client chooses the URL, and its name server the address. So the check of the address decides, at the moment
of the connection.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_CHARACTERS_MAX: Final = 2_000

_NEVER: Final = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's services inside each virtual machine, on a public address
        "192.0.0.0/24",  # protocols, and Oracle's metadata service
        "2001::/23",  # protocols, and Teredo, which leads to an IPv4 address
    )
)
_NAT64: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))


def check_url(url: str, *, allows_http: bool) -> str:
    """The URL, if an endpoint may have it. `allows_http`: whether an operator has named networks that plain
    HTTP may be sent to. Raises ValueError with the rule, as the end of "… must …"."""
    if len(url) > URL_CHARACTERS_MAX:
        raise ValueError(f"have at most {URL_CHARACTERS_MAX:,} characters")
    try:
        parts = urlsplit(url)
        known = parts.hostname and parts.port != 0 and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        known = None
    if not known or parts.scheme not in ("https", "http"):
        raise ValueError("be a URL such as https://example.com/callfold")
    if parts.scheme == "http" and not allows_http:
        raise ValueError("begin with https://")
    if "@" in parts.netloc:
        raise ValueError("have no user or password in it")
    if parts.fragment:
        raise ValueError("have no fragment (#)")
    return url


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
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
