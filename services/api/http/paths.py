"""The parameters in paths."""

from typing import Annotated
from uuid import UUID

from fastapi import Path
from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from starlette.convertors import StringConvertor, register_url_convertor


class CallConvertor(StringConvertor):
    """A path segment that may name a call. `export`, `stats`, `stream` and `trends` are routes."""

    regex = "(?!(?:export|stats|stream|trends)$)[^/]+"


register_url_convertor("call", CallConvertor())


def _call_id(text: object, read: ValidatorFunctionWrapHandler) -> UUID:
    """A call's id in a path. Raises ValueError with the rule."""
    try:
        call_id: UUID = read(text)
    except ValidationError:
        raise ValueError(
            "must be a UUID; GET /calls?external_id= finds a call by its source's own id"
        ) from None
    return call_id


CallId = Annotated[
    UUID,
    WrapValidator(_call_id),
    Path(alias="id", description="The call's id.", examples=["0b8f6c1e-7a52-5c55-8d3a-0a4b8f1c2d3e"]),
]
