"""Dialects: one pure file for each telephony system. registry.py lists them.

amazon_connect.py reads Amazon Connect. genesys_cloud.py reads Genesys Cloud. ringcentral.py reads
RingCentral. twilio.py reads Twilio. zoom_phone.py reads Zoom Phone.

Imports shared.sources and shared.calls.
"""
