"""The keys of PostgreSQL's advisory locks that callfold takes. All end with their transaction.

`held_locks` takes them, because an advisory lock of a distributed database belongs to one server.

A transaction that takes several of these locks takes `CALL_LOCKS` first, before it locks any row, and
`DAYS_LOCK` last. It takes no other two together.
"""

from typing import Final

MIGRATION_LOCK: Final = 4_107_402_001
"""`callfold migrate` holds it alone while it runs the steps, in a transaction that does nothing else."""

CALL_LOCKS: Final = 410_740_203
"""The first of two keys; the second is one of `LOCK_BUCKETS` numbers, chosen by organization and call. A
writer of bad records shares the locks of the calls that these name, in ascending order. A delete of a call or
of an organization holds one alone."""
LOCK_BUCKETS: Final = 64
"""The number of `CALL_LOCKS`. A batch takes no more than that, because PostgreSQL's lock table is bounded."""

DAYS_LOCK: Final = 4_107_402_002
"""A writer of calls shares it at the end of its transaction, without waiting for it. A change of an
organization's time zone holds it alone, after the calls' rows; the deletion of an organization holds it
alone, before any row."""

REPAIR_LOCK: Final = 4_107_402_003
"""`callfold rebuild` takes it exclusively, before anything else: two concurrent rebuilds would both correct
the same difference."""

PROOF_LOCK: Final = 4_107_402_004
"""`callfold verify --record` takes it while it stores the row of a new proof, so that only one proof runs."""
