"""Conditional requests (RFC 9110): a client that has the current answer gets 304 instead."""

import re
from collections.abc import Callable
from hashlib import blake2b
from http import HTTPStatus
from typing import Final

from fastapi import Request, Response

# A cache must revalidate an answer before each use, and must not share it between clients.
CACHING: Final = {
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, x-api-key, x-organization-id, Accept-Encoding",
}

_tags = re.compile(r'"([^"]*)"').findall


def etag_of(body: bytes) -> str:
    """The strong entity tag of an answer with this body: equal tags mean equal bytes."""
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'


def conditional(
    request: Request, body: bytes, etag: str, compressed: Callable[[], bytes] | None = None
) -> Response:
    """The JSON answer with its tag, or 304 without a body if If-None-Match names the tag: in a list, as weak,
    or by `*`. With `compressed`, the answer is in gzip and has a separate tag. Either tag gives 304."""
    etag_in_gzip = f'{etag[:-1]}-gzip"'
    named = ", ".join(request.headers.getlist("if-none-match"))
    tags = _tags(named)
    for known in (etag, etag_in_gzip):
        if known.strip('"') in tags or named.strip() == "*":
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": known, **CACHING})
    if compressed is None:
        return Response(body, headers={"ETag": etag, **CACHING}, media_type="application/json")
    headers = {"ETag": etag_in_gzip, "Content-Encoding": "gzip", **CACHING}
    return Response(compressed(), headers=headers, media_type="application/json")
