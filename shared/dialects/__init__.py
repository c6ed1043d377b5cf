"""Dialects: one pure file for each telephony system. registry.py lists them.

bland.py reads Bland.
elevenlabs.py reads ElevenLabs.
retell.py reads Retell.
twilio.py reads Twilio.
vapi.py reads Vapi. vapi_reasons.py has the words with which Vapi says why a call ended.

Imports shared.sources and shared.calls.
"""
