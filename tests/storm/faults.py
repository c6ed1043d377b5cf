"""The table of faults. Each is one small function: it injects the fault, waits for the planned time, and
repairs.

A fault that holds a part waits until no other fault holds it, so that every planned fault happens. Actions of
operators hold no part: they run during any fault, and may fail with an error message.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.storm import broker_faults, database_faults, operator_deeds, service_faults
from tests.storm.schedule import Kind, Planned
from tests.storm.stage import REPLICAS, Stage


@dataclass(frozen=True)
class Fault:
    """A fault: its frequency, the parts that it holds ({} stands for its target), and its function."""

    kind: Kind
    holds: tuple[str, ...]
    happen: Callable[[Stage, Planned], Awaitable[None]]


INGEST: Final = tuple(f"ingest {n}" for n in range(REPLICAS["ingest"]))
POSTGRES: Final = ("postgres",)
BROKERS: Final = ("brokers",)

FAULTS: Final[Mapping[str, Fault]] = {
    "kill ingest": Fault(Kind(3, 2, (0, 2)), ("ingest {}",), service_faults.kill("ingest")),
    "stop ingest": Fault(Kind(2, 2, (0, 2)), ("ingest {}",), service_faults.stop("ingest")),
    "freeze ingest": Fault(Kind(3, 2, (4, 7)), ("ingest {}",), service_faults.freeze("ingest")),
    "kill aggregator": Fault(Kind(2, 1, (0, 2)), ("aggregator {}",), service_faults.kill("aggregator")),
    "stop aggregator": Fault(Kind(1, 1, (0, 2)), ("aggregator {}",), service_faults.stop("aggregator")),
    "freeze aggregator": Fault(Kind(1, 1, (1, 5)), ("aggregator {}",), service_faults.freeze("aggregator")),
    "kill api": Fault(Kind(2, 1, (0, 1)), ("api {}",), service_faults.kill("api")),
    "stop api": Fault(Kind(1, 1, (0, 1)), ("api {}",), service_faults.stop("api")),
    "freeze api": Fault(Kind(1, 1, (1, 3)), ("api {}",), service_faults.freeze("api")),
    "kill a publisher": Fault(Kind(2, 2, (0, 2)), ("publisher {}",), service_faults.kill("publisher")),
    "stop a publisher": Fault(Kind(1, 2, (0, 2)), ("publisher {}",), service_faults.stop("publisher")),
    "freeze a publisher": Fault(
        Kind(2, 2, (2.5, 3.5)), ("publisher {}",), service_faults.freeze("publisher")
    ),
    "kill webhooks": Fault(Kind(2, 2, (0, 2)), ("webhooks {}",), service_faults.kill("webhooks")),
    "stop webhooks": Fault(Kind(1, 2, (0, 2)), ("webhooks {}",), service_faults.stop("webhooks")),
    "freeze webhooks": Fault(Kind(2, 2, (2.5, 3.5)), ("webhooks {}",), service_faults.freeze("webhooks")),
    "shut PostgreSQL down at once": Fault(Kind(2, 1, (0, 2), 3), POSTGRES, database_faults.shut_down_at_once),
    "kill PostgreSQL": Fault(Kind(2, 1, (0, 2), 3), POSTGRES, database_faults.kill),
    "restart PostgreSQL": Fault(Kind(1, 1, (0, 2), 2), POSTGRES, database_faults.restart),
    "cut connections": Fault(Kind(3, 1, (1, 3)), POSTGRES, database_faults.cut_connections),
    "cancel statements": Fault(Kind(2, 1, (1, 3)), POSTGRES, database_faults.cancel_statements),
    "hold a lock": Fault(Kind(1, 1, (10.5, 12), 1), POSTGRES, database_faults.hold_lock),
    "time statements out": Fault(Kind(1, 1, (2, 4), 2), POSTGRES, database_faults.time_statements_out),
    "take all connections": Fault(Kind(1, 1, (1, 3), 2), POSTGRES, database_faults.take_all_connections),
    "kill a broker": Fault(Kind(2, 3, (0, 3), 3), BROKERS, broker_faults.kill),
    "restart a broker": Fault(Kind(1, 3, (0, 2), 2), BROKERS, broker_faults.restart),
    "freeze a broker": Fault(Kind(2, 3, (2, 6), 3), BROKERS, broker_faults.freeze),
    "reset the offsets": Fault(Kind(1, 1, (0, 0), 1), (*BROKERS, *INGEST), broker_faults.reset_offsets),
    "delete many calls": Fault(Kind(2, 1, (0, 0)), (), operator_deeds.delete_many),
    "move the days": Fault(Kind(2, 4, (0, 0)), (), operator_deeds.move_days),
    "rebuild": Fault(Kind(1, 1, (0, 0)), (), operator_deeds.rebuild),
    "refold": Fault(Kind(1, 4, (0, 0), 2), (), operator_deeds.refold),
    "replay": Fault(Kind(2, 4, (0, 0), 3), (), operator_deeds.replay),
}

KINDS: Final[Mapping[str, Kind]] = {name: fault.kind for name, fault in FAULTS.items()}

TELLING: Final[Mapping[str, Kind]] = {
    name: KINDS[name]
    for name in (
        *("kill ingest", "freeze ingest", "kill api", "reset the offsets"),
        *("shut PostgreSQL down at once", "cut connections", "delete many calls", "move the days"),
        *("kill a publisher", "freeze a publisher", "kill webhooks", "freeze webhooks"),
    )
}
"""The faults of the short storm, one of each."""


async def happen(stage: Stage, planned: Planned) -> None:
    """Runs one planned fault, as soon as the parts that it holds are free. Raises StormBroke, and errors of
    the repair."""
    fault = FAULTS[planned.kind]
    async with stage.held(part.format(planned.target) for part in fault.holds):
        stage.note(f"{planned.kind} {planned.target} begins")
        await fault.happen(stage, planned)
        stage.note(f"{planned.kind} {planned.target} is over")
