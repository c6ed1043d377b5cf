"""Signatures: checks that a request is the vendor's, in constant time.

Every function raises Refused with a clause that contains no secret and nothing of the request.
"""

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha1, sha256
from typing import Any, Final

import msgspec

from shared.sources.delivery import Delivery
from shared.sources.outcome import Refused, Response
from shared.sources.source import Source

NOT_CONFIGURED: Final = "the source has no"
"""The begin of the reason for a request that cannot be checked before the source is changed."""
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def check_request(
    delivery: Delivery, source: Source, verify: Callable[[Delivery, Source], Response | None] | None
) -> Response | None:
    """Checks a request as its dialect does. Without `verify`, a source that has the secrets `username` and
    `password` needs them as basic credentials. One with neither trusts its secret address. Returns the
    answer to a handshake, or None for a request to be kept. Raises Refused."""
    if verify is not None:
        return verify(delivery, source)
    if has_basic_credentials(source):
        check_basic_credentials(delivery, source)
    return None


def secret(source: Source, name: str) -> str:
    """A secret of the source. Raises Refused if it has none. With an empty one, every client could sign."""
    if not (value := source.secrets.get(name)):
        raise Refused(f"{NOT_CONFIGURED} secret {name}")
    return value


def public_address(delivery: Delivery, source: Source) -> str:
    """The address that the system calls: the source's, or the request's if that is absolute. Raises Refused
    if it is not known: a request that the receiver takes has only its path, and its Host may be forged."""
    if source.url:
        return source.url
    if delivery.url.startswith(("https://", "http://")):
        return delivery.url
    raise Refused(f"{NOT_CONFIGURED} public address, which the signature covers")


def header(delivery: Delivery, name: str) -> str:
    """A header of the request, by its name in lower case."""
    try:
        return delivery.headers[name]
    except KeyError:
        raise Refused(f"the header {name} is missing") from None


def check_equal(expected: str | bytes, given: str | bytes, what: str = "the signature") -> None:
    """Compares two values in constant time."""
    if not same(expected, given):
        raise Refused(f"{what} is wrong")


def same(expected: str | bytes, given: str | bytes) -> bool:
    """Whether two values are equal, compared in constant time."""
    return hmac.compare_digest(_bytes(expected), _bytes(given))


def check_age(signed_at: datetime | None, received_at: datetime, tolerance_seconds: int) -> None:
    """Refuses a request that was signed too long before or after its receipt."""
    if signed_at is None or abs((received_at - signed_at).total_seconds()) > tolerance_seconds:
        raise Refused(f"it was signed more than {tolerance_seconds} s before or after its receipt")


def hmac_sha256(key: str | bytes, message: str | bytes) -> bytes:
    return hmac.digest(_bytes(key), _bytes(message), sha256)


def hmac_sha1(key: str | bytes, message: str | bytes) -> bytes:
    return hmac.digest(_bytes(key), _bytes(message), sha1)


def base64_text(value: bytes) -> str:
    return b64encode(value).decode()


def base64_bytes(value: str, what: str) -> bytes:
    """The bytes of a base64 text. Raises Refused for any other text."""
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(f"{what} is not base64") from None


def jwt_claims(token: str, key: str) -> Mapping[str, Any]:
    """The claims of a JSON Web Token signed by HS256 with this key (RFC 7519). Times are not checked.

    PyJWT warns at each call of a key shorter than RFC 7518 recommends, and vendors give such keys."""
    signed, _, signature = token.rpartition(".")
    header, _, payload = signed.partition(".")
    try:
        check_equal(hmac_sha256(key, signed), base64url_bytes(signature), "the token's signature")
        if _decode(base64url_bytes(header)).get("alg") != "HS256":
            raise Refused("the token's algorithm is not HS256")
        claims = _decode(base64url_bytes(payload))
    except (ValueError, RecursionError):  # also bad base64, bad JSON and bad UTF-8
        raise Refused("the token is not a JSON Web Token") from None
    return claims


def base64url_bytes(value: str) -> bytes:
    """The bytes of a base64url text without padding (RFC 7515, 2). Raises ValueError for any other text."""
    return b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)


def has_basic_credentials(source: Source) -> bool:
    """Whether requests need basic credentials. With one of the two secrets, no request passes."""
    return "username" in source.secrets or "password" in source.secrets


def check_basic_credentials(delivery: Delivery, source: Source) -> None:
    """Checks HTTP basic credentials (RFC 7617) against the secrets `username` and `password`."""
    scheme, _, credentials = header(delivery, "authorization").partition(" ")
    if scheme.lower() != "basic":
        raise Refused("the header authorization has no basic credentials")
    expected = f"{secret(source, 'username')}:{secret(source, 'password')}"
    check_equal(expected, base64_bytes(credentials.strip(), "the header authorization"), "the password")


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
