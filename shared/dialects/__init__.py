"""Dialects: one pure file for each telephony system. registry.py lists them.

twilio.py reads Twilio. asterisk.py reads Asterisk's events, CEL and CDRs. freeswitch.py reads FreeSWITCH's
events and CDRs. wazo.py reads the events of Wazo's bus.

Imports shared.sources and shared.calls.
"""
