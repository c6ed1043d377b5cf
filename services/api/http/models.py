"""The answers that are of no package of routes: health and errors."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class Health(BaseModel):
    """How the service is."""

    status: Literal["live", "ready"] = Field(description="`live`: it is up; `ready`: it can answer.")


class Error(BaseModel):
    """Any answer that is not the asked one."""

    error: str = Field(description="What is wrong, in a sentence for people.")
    code: str = Field(description="What is wrong, for programs.", pattern="^[A-Z][A-Z_]*$")
    details: dict[str, Any] = Field(
        description="What else is known of it. With INVALID_PARAMETER: `field` and the `rule` that it breaks."
    )


class TooManyRequests(Error):
    """The answer to one request too many."""

    retry_after: int = Field(description="Seconds to wait before asking again, as in `Retry-After`.", ge=1)
