"""The registry of all dialects."""

from collections.abc import Mapping
from typing import Final

from shared.dialects.asterisk import ASTERISK
from shared.dialects.freeswitch import FREESWITCH
from shared.dialects.twilio import TWILIO, TWILIO_REST
from shared.dialects.wazo import WAZO
from shared.sources.dialect import Dialect

_ALL: Final = (
    ASTERISK,
    FREESWITCH,
    TWILIO,
    TWILIO_REST,
    WAZO,
)
DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in _ALL}
