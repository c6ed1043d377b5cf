"""Dialects: one pure file for each telephony system. `registry` lists them.

`aircall`, `amazon_connect`, `asterisk`, `bandwidth`, `bland`, `daily`, `dialpad` and `elevenlabs` read one
system each. `freeswitch`, `genesys_cloud`, `homer`, `jambonz`, `kamailio`, `krosai`, `livekit` and
`opensips` read one system each. `plivo`, `retell`, `ringcentral`, `signalwire`, `telnyx`, `telnyx_texml`,
`threecx` and `twilio` read one system each. `vapi`, `vonage`, `wazo` and `zoom_phone` read one system each.
`sip` and `vapi_reasons` are for several of them.

Imports `shared.sources` and `shared.calls`.
"""
