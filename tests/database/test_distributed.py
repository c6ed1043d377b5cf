"""The addresses of the servers of a distributed database."""

import pytest

from shared.database.connection import Connection
from shared.database.distributed import is_distributed, url_of


@pytest.mark.parametrize(
    ("url", "of_other_server"),
    [
        ("postgresql://callfold@one:5432/callfold", "postgresql://callfold@two:5433/callfold"),
        ("postgresql://a:p%40ss@one/db?sslmode=disable", "postgresql://a:p%40ss@two:5433/db?sslmode=disable"),
        ("postgresql:///db?host=/tmp&port=6000&user=a", "postgresql://two:5433/db?user=a"),
        ("postgresql://a@one:1,three:2/db?target_session_attrs=primary", "postgresql://a@two:5433/db"),
        ("postgresql://a@[::1]:5432/db", "postgresql://a@two:5433/db"),
    ],
)
def test_a_server_is_reached_as_the_first_one_is(url: str, of_other_server: str) -> None:
    assert url_of(url, "two", 5433) == of_other_server


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    assert url_of("postgresql://a@one/db", "::1", 5433) == "postgresql://a@[::1]:5433/db"


@pytest.mark.one_postgres("it asserts that the tables are not distributed")
async def test_one_postgresql_is_not_distributed(database: Connection) -> None:
    assert not await is_distributed(database)
