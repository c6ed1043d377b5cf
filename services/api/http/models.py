"""The answers that no package of routes owns: health and errors."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class Health(BaseModel):
    """The state of the service."""

    status: Literal["live", "ready"] = Field(
        description="`live`: the process runs. `ready`: it can answer requests."
    )


class Error(BaseModel):
    """The answer to every request that fails."""

    error: str = Field(
        description="The error and its remedy, in a sentence for people. It may change at any time."
    )
    code: str = Field(
        description="The kind of error, for programs. It does not change.", pattern="^[A-Z][A-Z_]*$"
    )
    details: dict[str, Any] = Field(
        description="Further data, by code. With INVALID_PARAMETER: `field` and the `rule` that it breaks."
    )


class TooManyRequests(Error):
    """The answer to a request beyond the rate limit."""

    retry_after: int = Field(description="Seconds to wait before a retry, as in `Retry-After`.", ge=1)
