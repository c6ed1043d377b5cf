"""Replacement: which calls an operator's replacement of events really changes."""

from collections.abc import Sequence
from dataclasses import replace

from shared.calls.event import read_stored
from shared.calls.fold import fold
from shared.store.changes import Changes, TouchedCall


def of_differing_calls(batch: Changes, touched: Sequence[TouchedCall]) -> Changes:
    """The changes for counts, without the calls that fold as before. A replaced event may say only what
    another event of its call says as well, such as the number's id."""
    rewritten = {(event.organization_id, event.call_id) for event in batch.rewritten}
    before = {
        one.key: fold([read_stored(payload) for payload in one.known.events.values()])
        for one in touched
        if one.key in rewritten
    }
    return replace(
        batch,
        changed_calls=[
            each
            for each in batch.changed_calls
            if before.get((each[0].organization_id, each[0].id)) != each[0]
        ],
    )
