"""The registry of all dialects."""

from collections.abc import Mapping
from typing import Final

from shared.dialects.bland import BLAND
from shared.dialects.elevenlabs import ELEVENLABS
from shared.dialects.retell import RETELL
from shared.dialects.twilio import TWILIO, TWILIO_REST
from shared.dialects.vapi import VAPI
from shared.sources.dialect import Dialect

_ALL: Final = (
    BLAND,
    ELEVENLABS,
    RETELL,
    TWILIO,
    TWILIO_REST,
    VAPI,
)
DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in _ALL}
