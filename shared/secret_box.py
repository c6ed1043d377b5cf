"""The box that keeps the secrets of sources and webhooks: encrypted with a key from the settings (Fernet).

Fernet is AES-128-CBC with HMAC-SHA256. The first key encrypts; every key decrypts. So a key is replaced in
three steps: put the new key first, encrypt all secrets again, and remove the old key.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

CACHED_MAX: Final = 10_000
_decode = msgspec.json.Decoder(dict[str, str]).decode


class SecretsLocked(Exception):
    """Secrets that no configured key decrypts. The text is one sentence without any secret."""


class SecretBox:
    """Encrypts and decrypts secrets by name with the keys of `CALLFOLD_SECRETS_KEY`."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Raises ValueError for a key that is not 32 bytes in URL-safe base64."""
        self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None
        # All sources are read every few seconds, and secrets rarely change.
        self._decrypted = lru_cache(maxsize=CACHED_MAX)(self._decrypt)

    def encrypted(self, secrets: Mapping[str, str]) -> bytes | None:
        """The secrets as bytes to be stored; None if there are no secrets. Raises SecretsLocked."""
        if not secrets:
            return None
        return self._key().encrypt(msgspec.json.encode(dict(secrets)))

    def decrypted(self, stored: bytes | None) -> Mapping[str, str]:
        """The secrets in stored bytes. Raises SecretsLocked."""
        return {} if stored is None else self._decrypted(stored)

    def _decrypt(self, stored: bytes) -> Mapping[str, str]:
        try:
            return _decode(self._key().decrypt(stored))
        except (InvalidToken, msgspec.DecodeError):
            raise SecretsLocked("No key of CALLFOLD_SECRETS_KEY decrypts the secrets.") from None

    def _key(self) -> MultiFernet:
        if self._fernet is None:
            raise SecretsLocked("CALLFOLD_SECRETS_KEY is not set, so no secret can be stored or read.")
        return self._fernet


def new_key() -> str:
    """A new random key."""
    return Fernet.generate_key().decode()
