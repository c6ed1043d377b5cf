"""Dialects: one pure file for each telephony system. `registry` lists them.

`aircall`, `amazon_connect`, `asterisk`, `bandwidth`, `daily`, `dialpad`, `freeswitch` and `genesys_cloud`
read one system each. `homer`, `jambonz`, `kamailio`, `krosai`, `livekit`, `opensips` and `ringcentral` read
one system each. `signalwire`, `threecx`, `twilio`, `wazo` and `zoom_phone` read one system each. `sip` has what
the dialects of SIP proxies share.

Imports `shared.sources` and `shared.calls`.
"""
