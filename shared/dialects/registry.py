"""The registry of all dialects."""

from collections.abc import Mapping
from typing import Final

from shared.dialects.amazon_connect import AMAZON_CONNECT
from shared.dialects.genesys_cloud import GENESYS_CLOUD
from shared.dialects.ringcentral import RINGCENTRAL
from shared.dialects.twilio import TWILIO, TWILIO_REST
from shared.dialects.zoom_phone import ZOOM_PHONE
from shared.sources.dialect import Dialect

_ALL: Final = (
    AMAZON_CONNECT,
    GENESYS_CLOUD,
    RINGCENTRAL,
    TWILIO,
    TWILIO_REST,
    ZOOM_PHONE,
)
DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in _ALL}
