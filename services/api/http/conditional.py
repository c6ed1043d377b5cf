"""Conditional requests (RFC 9110): whoever has an answer already is told that it is still the same."""

import re
from collections.abc import Callable
from hashlib import blake2b
from http import HTTPStatus
from typing import Final

from fastapi import Request, Response

# Whoever keeps an answer must ask again before using it, and no answer is anybody else's.
CACHING: Final = {
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, x-api-key, x-organization-id, Accept-Encoding",
}

_tags = re.compile(r'"([^"]*)"').findall


def etag_of(body: bytes) -> str:
    """The strong entity tag of an answer with this body: equal tags, equal bytes."""
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'


def conditional(
    request: Request, body: bytes, etag: str, compressed: Callable[[], bytes] | None = None
) -> Response:
    """The JSON answer with its tag; or 304 without a body for who names it in If-None-Match, be it in a list,
    as weak, or by `*`. In gzip, where `compressed` gives it so, it has a tag of its own, which says the same
    of what is kept."""
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
