"""The registry of all dialects."""

from collections.abc import Mapping
from typing import Final

from shared.dialects.homer import HOMER
from shared.dialects.kamailio import KAMAILIO
from shared.dialects.opensips import OPENSIPS
from shared.dialects.twilio import TWILIO, TWILIO_REST
from shared.sources.dialect import Dialect

_ALL: Final = (
    HOMER,
    KAMAILIO,
    OPENSIPS,
    TWILIO,
    TWILIO_REST,
)
DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in _ALL}
