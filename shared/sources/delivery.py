"""A delivery: one HTTP request or one Kafka record of a source, as it arrived."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple


class Delivery(NamedTuple):
    """`headers` have names in lower case. `method` and `url` are empty for a Kafka record. `url` is the path
    and query that the system called, or the whole address. `received_at` (aware) is the time of receipt, or
    the Kafka record's timestamp."""

    body: bytes | None
    received_at: datetime
    headers: Mapping[str, str] = {}
    method: str = ""
    url: str = ""
    key: bytes | None = None

    @property
    def is_request(self) -> bool:
        return bool(self.method)

    @property
    def content_type(self) -> str:
        """The media type without its parameters, in lower case; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def query(self) -> str:
        """The query of the URL, without the question mark."""
        return self.url.partition("#")[0].partition("?")[2]
