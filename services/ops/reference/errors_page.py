"""docs/reference/errors.md: the codes of the API's errors, from their table."""

from typing import Final

from services.api.http.error_codes import ErrorCode
from services.ops.reference.markdown import page, table

_OPENING: Final = """
# Errors of the API

*Generated from the table of codes in services/api/http/error_codes.py by `python -m services.ops.reference`.*

Every error has this shape:

    {
      "error": "limit must be at most 100.",
      "code": "INVALID_PARAMETER",
      "details": {"field": "limit", "rule": "must be at most 100"}
    }

Programs should read `code`. The sentence in `error` is for people and can change. `details` has the values
that a program needs, and is empty for most codes.

Errors with status 429 and 503 have the header `Retry-After`, in seconds. An error with status 429 also has
`retry_after` in its body, with the same number.

[The HTTP API](api.md) lists the errors of each route. For errors of `callfold`, see
[the command line](cli.md#exit-status).
"""


def page_of_errors() -> str:
    """The page, in Markdown."""
    rows = [(f"`{code.name}`", str(code.status.value), code.cause, code.remedy) for code in ErrorCode]
    return page(_OPENING, table(("code", "status", "cause", "what to do"), rows))
