"""A topic of deliveries, and a dialect of no system, for each test."""

import uuid
from collections.abc import Callable

import pytest

from shared.dialects.registry import DIALECTS
from shared.kafka.topic import DELIVERY_BYTES_MAX, ensure_topic
from shared.sources.dialect import Dialect, Verify
from shared.sources.source import Source

Invent = Callable[..., Source]


@pytest.fixture
async def deliveries(bootstrap: str) -> str:
    """A fresh topic of deliveries."""
    name = f"call-deliveries-{uuid.uuid4().hex[:12]}"
    await ensure_topic(bootstrap, name, 2, record_bytes_max=DELIVERY_BYTES_MAX)
    return name


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Source]:
    """Registers a dialect that checks requests so, and returns a source of it."""

    def register(
        verify: Verify | None = None,
        secrets: dict[str, str] | None = None,
        kept: tuple[str, ...] = (),
        settings: dict[str, str] | None = None,
    ) -> Source:
        dialect = Dialect(
            name="invented",
            title="Invented",
            ways=("http",),
            read=lambda _: [],
            verify=verify,
            kept_headers=kept,
            setup="",
            gives="",
            lacks="",
        )
        monkeypatch.setitem(DIALECTS, "invented", dialect)
        return Source(uuid.uuid4(), "one", "invented", secrets=secrets or {}, settings=settings or {})

    return register
