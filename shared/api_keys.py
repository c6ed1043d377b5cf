"""API keys: how they look, and what is kept of them. Pure."""

import hashlib
import secrets
from typing import Final, Literal, get_args

Scope = Literal["calls:read", "calls:write", "analytics:read"]
"""What credentials let somebody do: see calls, delete them, see what is counted of them."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

LIVE_PREFIX: Final = "kros_live_"
TEST_PREFIX: Final = "kros_test_"


def new_key(livemode: bool) -> str:
    """A new key with 256 random bits. It is shown once; only its hash and hint are kept."""
    return (LIVE_PREFIX if livemode else TEST_PREFIX) + secrets.token_urlsafe(32)


def key_hash(key: str) -> bytes:
    """What a key is looked up by. A plain SHA-256 does: nobody guesses 256 random bits, salted or not."""
    return hashlib.sha256(key.encode()).digest()


def key_hint(key: str) -> str:
    """A key's first and last letters, by which its owner tells it from others."""
    return f"{key[: len(LIVE_PREFIX) + 2]}…{key[-4:]}"


def key_livemode(key: str) -> bool | None:
    """The mode in a key's prefix; None for a text that is no key."""
    if key.startswith(LIVE_PREFIX):
        return True
    if key.startswith(TEST_PREFIX):
        return False
    return None
