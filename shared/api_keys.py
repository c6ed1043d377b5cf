"""API keys: their form, and what is stored of them. Pure."""

import hashlib
import secrets
from typing import Final, Literal, get_args

Scope = Literal["calls:read", "calls:write", "analytics:read", "webhooks:write"]
"""The permissions of credentials: read calls, delete calls, read counts and figures, manage webhooks."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

LIVE_PREFIX: Final = "kros_live_"
TEST_PREFIX: Final = "kros_test_"


def new_key(livemode: bool) -> str:
    """A new key with 256 random bits. It is shown once; only its hash and hint are stored."""
    return (LIVE_PREFIX if livemode else TEST_PREFIX) + secrets.token_urlsafe(32)


def key_hash(key: str) -> bytes:
    """The hash by which a key is looked up. Plain SHA-256 is sufficient: 256 random bits cannot be guessed,
    with or without a salt."""
    return hashlib.sha256(key.encode()).digest()


def key_hint(key: str) -> str:
    """A key's first and last characters, by which its owner recognizes it."""
    return f"{key[: len(LIVE_PREFIX) + 2]}…{key[-4:]}"


def key_livemode(key: str) -> bool | None:
    """The mode in a key's prefix; None for a text that is not a key."""
    if key.startswith(LIVE_PREFIX):
        return True
    if key.startswith(TEST_PREFIX):
        return False
    return None
