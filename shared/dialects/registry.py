"""The registry of all dialects."""

from collections.abc import Mapping
from typing import Final

from shared.dialects.retell import RETELL
from shared.dialects.twilio import TWILIO, TWILIO_REST
from shared.sources.dialect import Dialect

_ALL: Final = (
    RETELL,
    TWILIO,
    TWILIO_REST,
)
DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in _ALL}
