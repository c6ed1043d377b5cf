"""`GET /admin/lag`."""

from typing import Final, Literal

from fastapi import APIRouter, Depends, Request, Response

from services.api.http.answers import answer
from services.api.http.query import no_query
from services.ops.admin import documentation
from services.ops.admin.models import OUTBOX_COUNTED_MAX, Lag, PartitionLag, TopicLag
from services.ops.admin.running_admin import RunningAdmin
from services.ops.pipeline_lag import PartitionLag as Measured
from services.ops.pipeline_lag import consumer_lag, lag_of_source, topics_of_sources, waiting_deltas
from shared.database.statement import Statement

router = APIRouter(tags=["lag"], dependencies=[Depends(no_query)])


@router.get("/lag", **documentation.GET_LAG)
async def get_lag(request: Request) -> Response:
    """Measures how far ingest is behind each topic, which deltas wait, and how full the outbox is. It joins
    no consumer group."""
    admin = RunningAdmin.of(request)
    async with admin.connection() as connection:
        deltas, oldest = await waiting_deltas(connection)
        outbox = await _OUTBOX.fetchval(connection, most=OUTBOX_COUNTED_MAX + 1)
        names = await topics_of_sources(connection, admin.settings.deliveries_topic)
    async with admin.kafka():
        topics = await _measure(admin, names)
        at = admin.clock()
    return answer(
        Lag(
            at=at,
            topics=topics,
            waiting_deltas=deltas,
            oldest_delta_seconds=oldest,
            outbox_changes=min(outbox, OUTBOX_COUNTED_MAX),
            outbox_is_more=outbox > OUTBOX_COUNTED_MAX,
        ).model_dump()
    )


async def _measure(admin: RunningAdmin, names: list[str]) -> list[TopicLag]:
    settings = admin.settings
    broker, group = settings, settings.consumer_group
    found = [_topic(settings.topic, "events", await consumer_lag(broker, settings.topic, group))]
    for name in names:
        kind: Literal["deliveries", "source"] = (
            "deliveries" if name == settings.deliveries_topic else "source"
        )
        found.append(_topic(name, kind, await lag_of_source(broker, name, group)))
    return found


def _topic(
    name: str, kind: Literal["events", "deliveries", "source"], measured: tuple[Measured, ...] | None
) -> TopicLag:
    partitions = [PartitionLag(**vars(one)) for one in measured or ()]
    return TopicLag(
        topic=name,
        kind=kind,
        exists=measured is not None,
        lag=sum(one.lag for one in partitions),
        partitions=partitions,
    )


_OUTBOX: Final = Statement("SELECT count(*) FROM (SELECT FROM call_changes LIMIT :most::integer) AS change")
