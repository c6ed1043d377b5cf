"""A database URL: the part of libpq's URL syntax that asyncpg, which reads it, also supports."""

from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

_CHOICES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# asyncpg would send these to the server, which does not know them either.
_FOR_LIBPQ_ALONE: Final = frozenset(
    {
        "channel_binding",
        "connect_timeout",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "require_auth",
        "requirepeer",
        "sslcertmode",
        "sslcompression",
        "sslcrldir",
        "sslsni",
        "tcp_user_timeout",
    }
)


def check_url(url: str) -> str:
    """The URL, of one host or several, if asyncpg can use it. Raises ValueError with the rule that it
    breaks."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("begin with postgresql://")
    try:
        address = urlsplit(url)
        for host in address.netloc.rpartition("@")[2].split(","):
            _ = urlsplit(f"//{host}").port
        given = parse_qs(address.query, strict_parsing=True) if address.query else {}
    except ValueError:
        raise ValueError("be a URL such as postgresql://user@host:5432/database") from None
    for name, values in given.items():
        _check_parameter(name, values[-1])
    mode = given.get("sslmode", [""])[-1]
    if mode.startswith("verify-") and "sslrootcert" not in given:
        # asyncpg would look for one in the home directory, which a container's user may not have.
        raise ValueError(f"name the authority's certificates in sslrootcert, which sslmode={mode} requires")
    return url


def _check_parameter(name: str, value: str) -> None:
    """Raises ValueError with the rule."""
    if name in _FOR_LIBPQ_ALONE:
        raise ValueError(f"not have the parameter {name}, which only libpq supports")
    choices = _CHOICES.get(name)
    if choices and value not in choices:
        raise ValueError(f"have one of {', '.join(choices)} as {name}")
    if name in _FILES:
        try:
            Path(value).open("rb").close()
        except OSError as error:
            reason = (error.strerror or "no file").lower()
            raise ValueError(f"name a readable file in {name}, not {value} ({reason})") from None
