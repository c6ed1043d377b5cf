"""Dialects: one pure file for each telephony system. registry.py lists them.

twilio.py reads Twilio. kamailio.py reads Kamailio's reports, transactions and CDRs.

Imports shared.sources and shared.calls.
"""
