"""The result of `callfold demo --exit`, for people and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.ops.commands.verify import as_wire, print_proof
from services.ops.demo.account import Account, Quarantined
from services.ops.demo.followers import Arrival
from services.ops.proof.proof import Proof
from services.ops.terminal.printing import console, table


@dataclass(frozen=True)
class Result:
    """`waited` counts the proxy's reports that waited for another one to name their organization. `off` are
    the differences, a phrase each."""

    producers: Sequence[Account]
    waited: int
    seconds: float
    quarantine: Sequence[Quarantined]
    proof: Proof
    arrivals: Sequence[Arrival]
    off: Sequence[str]


def print_summary(result: Result) -> None:
    """Prints what was delivered."""
    every = result.producers
    console().print(
        f"{sum(one.calls for one in every):,} calls ({sum(one.test_calls for one in every):,} of them test "
        f"calls) in {sum(one.records for one in every):,} records delivered and consumed in "
        f"{result.seconds:.1f} s: {sum(one.events for one in every):,} events, "
        f"{sum(one.duplicates for one in every):,} duplicates, "
        f"{sum(len(one.broken) for one in every):,} broken records. "
        f"{result.waited:,} reports of the SIP proxy waited until another one named their organization.\n"
    )


def print_result(result: Result) -> None:
    """Prints the quarantine, the arrivals of one more call, the proof and the verdict."""
    to = console()
    rows = [(one.fault, one.reason, one.sent, one.found) for one in result.quarantine]
    to.print(table(["fault", "reason", "sent", "quarantined"], rows, title="\nQuarantine"))
    heard = [(one.follower, one.what, one.milliseconds) for one in result.arrivals]
    to.print(table(["follower", "what arrived", "after ms"], heard, title="\nChanges: one more call"))
    to.print()
    print_proof(result.proof, ", all of this state directory")
    if result.off:
        return
    for one in result.producers:
        if one.keeps_outcomes:
            to.print(f"Each of the {one.calls:,} calls of the {one.producer} is as it was sent.")
    to.print("The API's stats and trends equal what was sent.", style="bold green")


def result_json(result: Result) -> dict[str, Any]:
    """The result for scripts."""
    return {
        "exact": result.proof.exact and not result.off,
        "producers": [
            {
                "producer": one.producer,
                "calls": one.calls,
                "test_calls": one.test_calls,
                "records": one.records,
                "events": one.events,
                "duplicates": one.duplicates,
                "broken": len(one.broken),
            }
            for one in result.producers
        ],
        "waited": result.waited,
        "seconds": round(result.seconds, 3),
        "quarantine": result.quarantine,
        "arrivals": result.arrivals,
        "differences": result.off,
        "proof": as_wire(result.proof),
    }
