"""Dialects: one pure file for each telephony system. registry.py lists them.

retell.py reads Retell.
twilio.py reads Twilio.

Imports shared.sources and shared.calls.
"""
