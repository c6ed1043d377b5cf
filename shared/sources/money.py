"""Money: prices as cents."""

from decimal import ROUND_HALF_EVEN, Decimal, DecimalException
from typing import Any, Final

from shared.calls.event import COST_CENTS_MAX, COST_STEP
from shared.sources.record import text

_HUNDRED: Final = Decimal(100)


def cents(value: Any) -> Decimal | None:
    """An amount in cents, as it is: positive, with at most four decimals. None for no amount."""
    given = text(value)
    if given is None:
        return None
    try:
        amount = abs(Decimal(given))
        return amount.quantize(COST_STEP, ROUND_HALF_EVEN) if amount <= COST_CENTS_MAX else None
    except DecimalException:
        return None


def cents_of_units(value: Any) -> Decimal | None:
    """An amount in dollars, euros or another currency of 100 cents, as cents."""
    given = text(value)
    if given is None:
        return None
    try:
        return cents(Decimal(given) * _HUNDRED)
    except DecimalException:
        return None
