"""Dialects: one pure file for each telephony system. registry.py lists them.

twilio.py reads Twilio. freeswitch.py reads FreeSWITCH's events and CDRs.

Imports shared.sources and shared.calls.
"""
