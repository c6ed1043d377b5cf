"""Dialects: one pure file for each telephony system. registry.py lists them.

twilio.py reads Twilio. kamailio.py reads Kamailio's reports, transactions and CDRs. opensips.py reads
OpenSIPS' events. homer.py reads SIP messages that Homer captured. sip.py has what these three share.

Imports shared.sources and shared.calls.
"""
