"""Dialects: one pure file for each telephony system. `registry` lists them.

`aircall`, `amazon_connect`, `asterisk`, `bandwidth`, `daily`, `dialpad`, `freeswitch` and `genesys_cloud`
read one system each. `jambonz`, `krosai`, `livekit`, `ringcentral`, `signalwire`, `threecx`, `twilio` and
`wazo` read one system each. `zoom_phone` read one system each.

Imports `shared.sources` and `shared.calls`.
"""
