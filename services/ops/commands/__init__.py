"""Commands: one file for each command of `callfold`, named after it.

Each reads its options, opens what it needs by `services.ops.addresses`, runs an act and prints the result.

Imports everything of `services.ops` but the demo.
"""
