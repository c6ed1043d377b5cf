"""The newest record of a key in the topic of calls, as an entry of fixed length. Pure.

Digests stand for value and headers, so that an entry of a long transcript is as short as any other. Entries
sort by key, partition and offset. Call keys sort as PostgreSQL sorts the calls, and precede foreign keys.
"""

import hashlib
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

CallKey = tuple[UUID, UUID]
Headers = Sequence[tuple[str, bytes | None]]

_ENTRY: Final = struct.Struct(">B32sIQ?q16s16s")
ENTRY_LENGTH: Final = _ENTRY.size
IDENTITY_LENGTH: Final = struct.calcsize(">B32sI")
"""The first bytes of an entry: key and partition."""
_CALL, _FOREIGN = 0, 1
_NO_REVISION: Final = -1
_REVISION_END: Final = 1 << 63
_UUID_LENGTH: Final = 36


class Content(NamedTuple):
    """Digests of a record. `revision` is that of its last header, and `headers` has the others; without a
    valid revision, it is -1, and `headers` has all."""

    revision: int
    value: bytes
    headers: bytes


class NewestRecord(NamedTuple):
    """The newest record of a key in one partition. `call` is None for a key that no call can have."""

    call: CallKey | None
    partition: int
    offset: int
    content: Content | None
    """None for a null value."""


def entry(record: Any) -> bytes:
    """The entry of a consumer's record."""
    call = call_of(record.key)
    if call is None:
        # A broker may accept a record without a key. No other record replaces it.
        name = f"{record.partition}:{record.offset}".encode() if record.key is None else b"k" + record.key
        kind, key = _FOREIGN, hashlib.sha256(name).digest()
    else:
        kind, key = _CALL, call[0].bytes + call[1].bytes
    is_null = record.value is None
    content = Content(_NO_REVISION, b"", b"") if is_null else content_of(record.value, record.headers)
    return _ENTRY.pack(kind, key, record.partition, record.offset, is_null, *content)


def newest_record(read: bytes) -> NewestRecord:
    """The record of an entry."""
    kind, key, partition, offset, is_null, *content = _ENTRY.unpack(read)
    call = (UUID(bytes=key[:16]), UUID(bytes=key[16:])) if kind == _CALL else None
    return NewestRecord(call, partition, offset, None if is_null else Content(*content))


def content_of(value: bytes, headers: Headers) -> Content:
    """The digests of a value and its headers."""
    *others, last = headers or [("", None)]
    revision = _revision(last)
    return Content(
        revision,
        hashlib.blake2b(value, digest_size=16).digest(),
        _headers_digest(headers if revision == _NO_REVISION else others),
    )


def call_of(key: bytes | None) -> CallKey | None:
    """Organization and call of a key; None if the publisher writes no such key."""
    if key is None or len(key) != 2 * _UUID_LENGTH + 1:
        return None
    try:
        organization_id, call_id = map(UUID, key.decode("ascii").split(":"))
    except ValueError:
        return None
    return (organization_id, call_id) if f"{organization_id}:{call_id}".encode() == key else None


def _revision(header: tuple[str, bytes | None]) -> int:
    name, value = header
    if name != "revision" or value is None or not value.isdigit() or len(value) > len(str(_REVISION_END)):
        return _NO_REVISION
    revision = int(value)
    return revision if revision < _REVISION_END and str(revision).encode() == value else _NO_REVISION


def _headers_digest(headers: Headers) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in headers:
        name_bytes = name.encode(errors="surrogateescape")
        length = -1 if value is None else len(value)
        digest.update(struct.pack(">qq", len(name_bytes), length) + name_bytes + (value or b""))
    return digest.digest()
