"""API processes that serve the stream of a topic of calls, and a publisher's writer of that topic."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest

from services.publisher.changed_calls import State
from services.publisher.topic_writer import TopicWriter, record, topic_writer
from shared.database import roles
from shared.settings.publisher import PublisherSettings
from tests.publisher.conftest import calls_topic, start_publisher
from tests.support.processes import Service, starting, until
from tests.support.roles import as_role

__all__ = ["calls_topic", "start_publisher"]


class Running(NamedTuple):
    """An API process, and a client of it."""

    service: Service
    client: httpx.AsyncClient


StartApi = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start_api(
    bootstrap: str,
    calls_topic: str,
    database_url: str,
    free_tcp_port_factory: Callable[[], int],
    tmp_path: Path,
) -> AsyncIterator[StartApi]:
    """Starts API processes in their role, and kills those that still run at the end."""
    clients: list[httpx.AsyncClient] = []
    with starting(
        "api",
        tmp_path,
        database_url=as_role(database_url, roles.API),
        kafka_bootstrap=bootstrap,
        calls_topic=calls_topic,
        api_stream_check_seconds="0.2",
        api_stream_heartbeat_seconds="0.5",
    ) as start:

        async def started(**settings: str) -> Running:
            port = settings.pop("api_port", None) or str(free_tcp_port_factory())
            service = start(api_port=port, **settings)
            await until(lambda: service.said("Uvicorn running"), "the API to be up")
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            client = httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False, limits=limits
            )
            clients.append(client)
            return Running(service, client)

        yield started
        await asyncio.gather(*(client.aclose() for client in clients))


class Told:
    """Writes states of calls to the topic, as a publisher does."""

    def __init__(self, writer: TopicWriter) -> None:
        self._writer = writer
        self._revision = 0

    async def changed(self, organization_id: UUID, call_id: UUID | None = None, **fields: Any) -> UUID:
        """A new state of a call with these fields. Returns the call's id."""
        call_id = call_id or uuid4()
        await self.all([(organization_id, call_id, fields)])
        return call_id

    async def all(self, states: list[tuple[UUID, UUID, dict[str, Any]]]) -> None:
        """New states of several calls, in one transaction."""
        self._revision += 1
        await self._writer.write(
            [
                record(
                    State(
                        (organization_id, call_id),
                        {
                            "id": call_id,
                            "organization_id": organization_id,
                            "livemode": True,
                            "status": "ringing",
                            "direction": None,
                            "phone_number_id": None,
                            **fields,
                        },
                        self._revision,
                        bool(fields.get("livemode", True)),
                    )
                )
                for organization_id, call_id, fields in states
            ]
        )

    async def deleted(self, organization_id: UUID, call_id: UUID, *, livemode: bool | None = True) -> None:
        """The deletion of a call, whose mode may be unknown."""
        await self._writer.write([record(State((organization_id, call_id), None, None, livemode))])


@pytest.fixture
async def told(bootstrap: str, calls_topic: str) -> AsyncIterator[Told]:
    """The only writer of this test's topic."""
    settings = PublisherSettings(kafka_bootstrap=bootstrap, calls_topic=calls_topic)
    async with topic_writer(settings) as writer:
        yield Told(writer)
