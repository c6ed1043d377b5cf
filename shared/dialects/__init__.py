"""Dialects: one pure file for each telephony system. registry.py lists them.

amazon_connect.py reads Amazon Connect. twilio.py reads Twilio.

Imports shared.sources and shared.calls.
"""
