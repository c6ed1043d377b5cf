"""Dialects: one pure file for each telephony system. registry.py lists them.

aircall.py reads Aircall.
dialpad.py reads Dialpad.
threecx.py reads 3CX.
twilio.py reads Twilio.

Imports shared.sources and shared.calls.
"""
