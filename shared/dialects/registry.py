"""The registry of all dialects."""

from collections.abc import Mapping
from typing import Final

from shared.dialects.asterisk import ASTERISK
from shared.dialects.freeswitch import FREESWITCH
from shared.dialects.bandwidth import BANDWIDTH
from shared.dialects.daily import DAILY
from shared.dialects.jambonz import JAMBONZ
from shared.dialects.krosai import KROSAI
from shared.dialects.livekit import LIVEKIT
from shared.dialects.signalwire import SIGNALWIRE
from shared.dialects.twilio import TWILIO, TWILIO_REST
from shared.dialects.wazo import WAZO
from shared.sources.dialect import Dialect

_ALL: Final = (
    ASTERISK,
    FREESWITCH,
    TWILIO,
    TWILIO_REST,
    WAZO,
    JAMBONZ,
    SIGNALWIRE,
    BANDWIDTH,
    LIVEKIT,
    DAILY,
    KROSAI,
)
DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in _ALL}
