"""Dialects: one pure file for each telephony system. registry.py lists them.

twilio.py reads Twilio. asterisk.py reads Asterisk's events, CEL and CDRs. freeswitch.py reads FreeSWITCH's
events and CDRs. wazo.py reads the events of Wazo's bus.
bandwidth.py reads Bandwidth. daily.py reads Daily. jambonz.py reads jambonz. krosai.py reads KrosAI.
livekit.py reads LiveKit. signalwire.py reads SignalWire. twilio.py reads Twilio.
amazon_connect.py reads Amazon Connect. genesys_cloud.py reads Genesys Cloud. ringcentral.py reads
RingCentral. twilio.py reads Twilio. zoom_phone.py reads Zoom Phone.
aircall.py reads Aircall.
dialpad.py reads Dialpad.
threecx.py reads 3CX.
twilio.py reads Twilio.

Imports shared.sources and shared.calls.
"""
