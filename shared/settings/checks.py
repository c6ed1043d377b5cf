"""Checks of single values. Each raises ValueError with the rule, as the end of "… must …"."""

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from shared.plans import read_plans

JWT_SECRET_BYTES_MIN: Final = 32
"""The length of an HS256 signature, and the minimum of RFC 7518, 3.2."""
ADMIN_TOKEN_CHARACTERS_MIN: Final = 32


def check_hosts(hosts: str) -> str:
    """Checks the addresses of Kafka brokers. Raises ValueError with the rule."""
    for host in hosts.split(","):
        try:
            address = urlsplit(f"//{host.strip()}")
            known = address.hostname and address.port != 0
        except ValueError:
            known = None
        if not known:
            raise ValueError("be host:port, or several separated by commas")
    return hosts


def check_file(file: Path) -> Path:
    """Checks that a file can be opened. Raises ValueError with the rule."""
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        raise ValueError(f"name a readable file ({error.strerror})") from None


@dataclass(frozen=True)
class WebUrl:
    """Checks an HTTP or HTTPS URL. URLs are logged, so credentials are refused: they have settings of their
    own."""

    example: str

    def __call__(self, url: str) -> str:
        """Raises ValueError with the rule."""
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
        except ValueError:
            known = None
        if not known:
            raise ValueError(f"be a URL such as {self.example}")
        if "@" in parts.netloc:
            raise ValueError(f"be a URL such as {self.example}, without a user or password in it")
        return url


def web_url(example: str) -> AfterValidator:
    return AfterValidator(WebUrl(example))


def check_admin_token(token: SecretStr) -> SecretStr:
    """Raises ValueError for a token that can be guessed, or that no header can carry."""
    text = token.get_secret_value()
    if len(text) < ADMIN_TOKEN_CHARACTERS_MIN or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(
            f"have at least {ADMIN_TOKEN_CHARACTERS_MIN} characters, all printable ASCII and no space"
        )
    return token


def check_jwt_secret(secret: SecretStr) -> SecretStr:
    """Raises ValueError with the rule."""
    if len(secret.get_secret_value().encode()) < JWT_SECRET_BYTES_MIN:
        raise ValueError(f"have at least {JWT_SECRET_BYTES_MIN} bytes")
    return secret


def parse_plans(text: object) -> object:
    """Parses plans. Raises ValueError with the rule."""
    if not isinstance(text, str):
        return text
    try:
        return read_plans(text)
    except ValueError as error:
        raise ValueError(f"be plans such as free=5/s,5000/day;pro=50/s ({error})") from None


def check_rate_limit_url(url: SecretStr) -> SecretStr:
    """Raises ValueError with the rule, without the URL's password."""
    try:
        parts = urlsplit(url.get_secret_value())
        known = (
            parts.scheme in ("valkey", "valkeys", "redis", "rediss") and parts.hostname and parts.port != 0
        )
    except ValueError:
        known = None
    if not known:
        raise ValueError(
            "be a URL such as valkey://host:6379/0, redis://, or with TLS valkeys:// or rediss://"
        )
    return url


def check_token_url(url: str) -> str:
    """Checks a URL that receives a secret or returns trusted keys. Raises ValueError with the rule."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_this_machine(parts.hostname):
        raise ValueError("begin with https:// unless its host is this machine")
    return url


def parse_networks(text: object) -> object:
    """Parses networks separated by commas. Raises ValueError with the rule."""
    if not isinstance(text, str):
        return text
    try:
        return tuple(ip_network(network.strip()) for network in text.split(",") if network.strip())
    except ValueError:
        raise ValueError("be networks such as 10.0.0.0/8, separated by commas, without host bits") from None


_is_origin = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:[1-9][0-9]{0,4})?").fullmatch
_PORTS_OF_SCHEMES: Final = ("http:80", "https:443")
"""Default ports, which browsers leave out of an origin."""


def parse_origins(text: object) -> object:
    """Parses origins separated by commas, as browsers send them, or `*`. Raises ValueError with the rule."""
    if not isinstance(text, str):
        return text
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        scheme, _, host = origin.partition("://")
        known = _is_origin(origin) and f"{scheme}:{host.rpartition(':')[2]}" not in _PORTS_OF_SCHEMES
        if not known and origins != ("*",):
            raise ValueError(
                "be * or origins such as https://app.example.com, separated by commas, as browsers "
                "send them: in lower case, without a path and without the scheme's default port"
            )
    return origins


def _is_this_machine(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


ReadableFile = Annotated[Path, AfterValidator(check_file)]


def check_ascii(password: SecretStr) -> SecretStr:
    text = password.get_secret_value()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError("contain only printable ASCII characters")
    return password
