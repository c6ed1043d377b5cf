"""The registry of all dialects."""

from collections.abc import Mapping
from typing import Final

from shared.dialects.aircall import AIRCALL
from shared.dialects.amazon_connect import AMAZON_CONNECT
from shared.dialects.asterisk import ASTERISK
from shared.dialects.bandwidth import BANDWIDTH
from shared.dialects.bland import BLAND
from shared.dialects.daily import DAILY
from shared.dialects.dialpad import DIALPAD
from shared.dialects.elevenlabs import ELEVENLABS
from shared.dialects.freeswitch import FREESWITCH
from shared.dialects.genesys_cloud import GENESYS_CLOUD
from shared.dialects.homer import HOMER
from shared.dialects.jambonz import JAMBONZ
from shared.dialects.kamailio import KAMAILIO
from shared.dialects.krosai import KROSAI
from shared.dialects.livekit import LIVEKIT
from shared.dialects.opensips import OPENSIPS
from shared.dialects.plivo import PLIVO
from shared.dialects.retell import RETELL
from shared.dialects.ringcentral import RINGCENTRAL
from shared.dialects.signalwire import SIGNALWIRE
from shared.dialects.telnyx import TELNYX
from shared.dialects.telnyx_texml import TELNYX_TEXML
from shared.dialects.threecx import THREECX
from shared.dialects.twilio import TWILIO, TWILIO_REST
from shared.dialects.vapi import VAPI
from shared.dialects.vonage import VONAGE
from shared.dialects.wazo import WAZO
from shared.dialects.zoom_phone import ZOOM_PHONE
from shared.sources.dialect import Dialect

_ALL: Final = (
    AIRCALL,
    AMAZON_CONNECT,
    ASTERISK,
    BANDWIDTH,
    BLAND,
    DAILY,
    DIALPAD,
    ELEVENLABS,
    FREESWITCH,
    GENESYS_CLOUD,
    HOMER,
    JAMBONZ,
    KAMAILIO,
    KROSAI,
    LIVEKIT,
    OPENSIPS,
    PLIVO,
    RETELL,
    RINGCENTRAL,
    SIGNALWIRE,
    TELNYX,
    TELNYX_TEXML,
    THREECX,
    TWILIO,
    TWILIO_REST,
    VAPI,
    VONAGE,
    WAZO,
    ZOOM_PHONE,
)
DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in _ALL}
