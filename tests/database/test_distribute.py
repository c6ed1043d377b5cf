"""Places of the tables in a distributed database."""

import pytest

from shared.database.roles import all_tables, policies
from shared.database.tables import metadata
from shared.migrations.distribute import check_version, distribute, place_tables
from shared.migrations.on_server import CannotDistribute
from shared.migrations.places import BY_ORGANIZATION, OF_EACH_SERVER, ON_EACH_SERVER, ON_ONE_SERVER


def test_each_table_has_one_place() -> None:
    places = [
        *BY_ORGANIZATION,
        *ON_EACH_SERVER,
        *OF_EACH_SERVER,
        *(name for group in ON_ONE_SERVER for name in group),
    ]
    assert sorted(places) == sorted(all_tables())


def test_the_key_of_a_distributed_table_begins_with_the_organization() -> None:
    """A unique key without it could not be checked on one server."""
    for name in BY_ORGANIZATION:
        assert next(iter(metadata.tables[name].primary_key)).name == "organization_id"
        assert not metadata.tables[name].foreign_keys


def test_policies_of_a_distributed_database_have_no_subquery() -> None:
    plain, distributed = policies(), policies(distributed=True)
    assert [policy[:3] for policy in plain] == [policy[:3] for policy in distributed]
    assert any("SELECT" in policy.condition for policy in plain)
    assert not any("SELECT" in policy.condition for policy in distributed)


@pytest.mark.parametrize("version", ["13.2-1", "14.0-1", "14.10-2", "15.0"])
def test_versions_of_citus_that_were_tested_and_newer_ones_are_taken(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["12.1-1", "13.0-1", "13.1-1"])
def test_an_older_version_of_citus_is_refused(version: str) -> None:
    with pytest.raises(CannotDistribute, match=f"has version {version}; callfold needs 13.2 or newer"):
        check_version(version)


@pytest.mark.one_postgres("its database has the extension")
async def test_a_database_without_the_extension_stays_as_it_is(database_url: str) -> None:
    with pytest.raises(CannotDistribute, match="does not have the extension citus"):
        await distribute(database_url)
    assert not await place_tables(database_url)
