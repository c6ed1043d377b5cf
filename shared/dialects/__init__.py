"""Dialects: one pure file for each telephony system. registry.py lists them.

aircall.py reads Aircall.
dialpad.py reads Dialpad.
twilio.py reads Twilio.

Imports shared.sources and shared.calls.
"""
