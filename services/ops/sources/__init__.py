"""Sources for the operator: translates deliveries without storing them.

sample.py reads files with one delivery or a whole call's. attempt.py runs them through dialects and fold.

Imports shared.dialects, shared.sources and shared.calls.
"""
