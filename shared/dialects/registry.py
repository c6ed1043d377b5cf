"""The registry of all dialects."""

from collections.abc import Mapping
from typing import Final

from shared.dialects.aircall import AIRCALL
from shared.dialects.dialpad import DIALPAD
from shared.dialects.threecx import THREECX
from shared.dialects.twilio import TWILIO, TWILIO_REST
from shared.sources.dialect import Dialect

_ALL: Final = (
    AIRCALL,
    DIALPAD,
    THREECX,
    TWILIO,
    TWILIO_REST,
)
DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in _ALL}
