"""The parameters in paths."""

from typing import Annotated
from uuid import UUID

from fastapi import Path
from starlette.convertors import StringConvertor, register_url_convertor


class CallConvertor(StringConvertor):
    """A path segment that may name a call, except `export`, `stats` and `trends`, which are routes."""

    regex = "(?!(?:export|stats|trends)$)[^/]+"


register_url_convertor("call", CallConvertor())

CallId = Annotated[
    UUID,
    Path(alias="id", description="The call's id.", examples=["0b8f6c1e-7a52-5c55-8d3a-0a4b8f1c2d3e"]),
]
