"""Temporary faults, in the words of PostgreSQL and of Citus."""

import asyncpg
import pytest
from asyncpg import PostgresError

from shared.database.faults import is_of_node_in_copy, is_passing

IN_COPY = {"R": "ReportCopyError", "F": "multi_copy.c"}
IN_STATEMENT = {"R": "ReportResultError", "F": "remote_commands.c"}


def fault(state: str, message: str, fields: dict[str, str]) -> PostgresError:
    error: PostgresError = asyncpg.PostgresError.new({"C": state, "M": message, **fields})
    return error


@pytest.mark.parametrize(
    ("error", "of_copy", "passing"),
    [
        (fault("XX000", "failure on connection marked as essential: 10.0.0.2:5432", {}), False, True),
        (fault("XX000", "server closed the connection unexpectedly", IN_STATEMENT), False, True),
        (fault("XX000", "canceling statement due to lock timeout", IN_COPY), True, True),
        (
            fault("XX000", 'new row for relation "calls_102028" violates check constraint "x"', IN_COPY),
            True,
            True,
        ),
        (fault("XX000", "could not find valid entry for shard 102020", {}), False, True),
        (fault("58030", "failed to COPY to shard 102018 on 10.0.0.2:5432", {}), False, True),
        (fault("58030", "could not read block 7 in file", {}), False, False),
        (fault("55P03", "canceling statement due to lock timeout", IN_STATEMENT), False, True),
        (fault("0A000", "could not create distributed plan", {}), False, False),
        (fault("XX000", "unrecognized RTE kind: 7", IN_STATEMENT), False, False),
        (fault("XX000", "cache lookup failed for relation 16384", {"R": "get_rel_name"}), False, False),
        (fault("23505", 'duplicate key value violates "calls_pkey_102028"', IN_STATEMENT), False, False),
    ],
)
def test_faults_of_citus(error: PostgresError, of_copy: bool, passing: bool) -> None:
    assert (is_of_node_in_copy(error), is_passing(error)) == (of_copy, passing)
