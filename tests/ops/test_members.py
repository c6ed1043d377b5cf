"""`callfold member`: the users of an organization."""

from uuid import uuid4

from shared.database.connection import Connection
from tests.support import seed
from tests.support.command_line import callfold


async def test_members_are_added_listed_and_removed(database_url: str, database: Connection) -> None:
    acme, umbrella = await seed.tenant(database), await seed.tenant(database)
    anna, ben = uuid4(), uuid4()

    added = [
        (
            await callfold(
                "member", "add", user, "--organization", acme.id, "--json", database_url=database_url
            )
        ).json
        for user in (anna, ben)
    ]
    await callfold("member", "add", anna, "--organization", umbrella.id, database_url=database_url)

    of_acme = ("member", "list", "--organization", acme.id)
    assert (await callfold(*of_acme, "--json", database_url=database_url)).json == added
    assert [set(member) for member in added] == [{"organization_id", "user_id", "joined_at"}] * 2
    listed = (await callfold(*of_acme, database_url=database_url)).output
    assert listed.index(str(anna)) < listed.index(str(ben))

    removed = await callfold("member", "remove", anna, "--organization", acme.id, database_url=database_url)

    assert removed.output == f"Removed user {anna} from organization {acme.id}.\n"
    assert (await callfold(*of_acme, "--json", database_url=database_url)).json == added[1:]
    of_umbrella = await callfold(
        "member", "list", "--organization", umbrella.id, "--json", database_url=database_url
    )
    assert [member["user_id"] for member in of_umbrella.json] == [str(anna)]


async def test_failures_are_reported_and_changes_are_audited(database_url: str, database: Connection) -> None:
    acme, anna, nobody = await seed.tenant(database), uuid4(), uuid4()

    async def member(action: str, user: object, organization: object) -> str:
        arguments = (action, str(user), "--organization", str(organization))
        return (await callfold("member", *arguments, database_url=database_url)).failure

    assert await member("add", anna, acme.id) == ""
    assert await member("add", anna, acme.id) == f"User {anna} already belongs to organization {acme.id}."
    assert (await member("add", anna, nobody)).startswith(f"There is no organization {nobody}")
    assert (await member("add", "anna", acme.id)).startswith("USER must be a UUID")
    assert (await member("remove", nobody, acme.id)).startswith(f"User {nobody} does not belong to")
    assert await member("remove", anna, acme.id) == ""

    audited = await database.fetch("SELECT action, subject FROM audit_log ORDER BY at")
    assert [tuple(line) for line in audited] == [("member added", str(anna)), ("member removed", str(anna))]
