"""Dialects: one pure file for each telephony system. `registry` lists them.

`aircall`, `amazon_connect`, `asterisk`, `bandwidth`, `daily`, `dialpad`, `freeswitch` and `genesys_cloud`
read one system each. `homer`, `jambonz`, `kamailio`, `krosai`, `livekit`, `opensips`, `ringcentral` and
`signalwire` read one system each. `threecx`, `twilio`, `wazo` and `zoom_phone` read one system each. `sip`
are for several of them.

Imports `shared.sources` and `shared.calls`.
"""
