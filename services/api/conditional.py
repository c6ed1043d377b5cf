"""Conditional requests (RFC 9110): whoever has an answer already is told that it is still the same."""

import re
from hashlib import blake2b
from http import HTTPStatus
from typing import Final

from fastapi import Request, Response

# Whoever keeps an answer must ask again before using it, and no answer is anybody else's.
CACHING: Final = {
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, x-api-key, x-organization-id",
}

_tags = re.compile(r'"([^"]*)"').findall


def etag_of(body: bytes) -> str:
    """The strong entity tag of an answer with this body: equal tags, equal bytes."""
    return f'"{blake2b(body, digest_size=16).hexdigest()}"'


def conditional(request: Request, body: bytes, etag: str) -> Response:
    """The JSON answer with its tag; or 304 without a body for who names it in If-None-Match, be it in a list,
    as weak, or by `*`."""
    headers = {"ETag": etag, **CACHING}
    named = ", ".join(request.headers.getlist("if-none-match"))
    if named.strip() == "*" or etag.strip('"') in _tags(named):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, media_type="application/json")
