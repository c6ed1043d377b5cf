"""Dialects: one pure file for each telephony system. registry.py lists them.

bandwidth.py reads Bandwidth. daily.py reads Daily. jambonz.py reads jambonz. krosai.py reads KrosAI.
livekit.py reads LiveKit. signalwire.py reads SignalWire. twilio.py reads Twilio.

Imports shared.sources and shared.calls.
"""
