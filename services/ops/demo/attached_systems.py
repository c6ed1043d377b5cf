"""The sources of the two systems that the demo attaches. A further run on the same stack uses them again."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from services.ops.demo.simulated_call import Organization
from services.ops.demo.simulated_proxy import domain, tenant
from services.ops.demo.simulated_vendor import SimulatedVendor, account_sid
from services.ops.embedded.state import State
from services.ops.sources.secret_keys import secret_box
from services.ops.sources.stored import enable_source, store_source
from services.ops.terminal.failure import Failure
from shared.database.connection import Connection
from shared.kafka.topic import ensure_topic
from shared.secret_box import SecretBox
from shared.sources.source import OWN_DOMAINS, Source
from shared.store.sources import read_sources

PROXY: Final = "demo-proxy"
VENDOR: Final = "demo-vendor"
PROXY_TOPIC: Final = "demo-proxy-calls"
PROXY_PARTITIONS: Final = 4
VENDOR_URL: Final = "https://hooks.example.com/hooks/demo-vendor"
"""The vendor's signatures contain this address, which a proxy would map to the receiver."""
_SECRET: Final = "auth_token"  # noqa: S105 (its name)


@dataclass(frozen=True)
class AttachedSystems:
    """The sources of the SIP proxy and of the vendor, and the receiver's address of the vendor's."""

    proxy: Source
    vendor: Source
    hook_url: str

    @property
    def proxy_topic(self) -> str:
        """The topic to which the proxy publishes."""
        return self.proxy.topic or PROXY_TOPIC

    @property
    def simulated_vendor(self) -> SimulatedVendor:
        """The vendor that signs as its source expects."""
        return SimulatedVendor(self.vendor.url or VENDOR_URL, self.vendor.secrets[_SECRET])


async def attach_systems(
    connection: Connection, stack: State, organizations: Sequence[Organization]
) -> AttachedSystems:
    """Creates both sources and the proxy's topic, or adds the organizations to those of an earlier run.

    The proxy's source comes last: ingest that knows it knows the vendor's as well. Raises Failure, and
    asyncpg's and aiokafka's errors."""
    if stack.receiver_url is None:
        raise Failure("The running stack has no receiver: stop it, and start it again.")
    box = secret_box(stack.directory)
    vendor = await _attach(
        connection,
        box,
        Source(
            uuid4(),
            VENDOR,
            "twilio",
            organizations={account_sid(one): one.id for one in organizations},
            secrets={_SECRET: secrets.token_hex(16)},
            url=VENDOR_URL,
        ),
    )
    proxy = await _attach(
        connection,
        box,
        Source(
            uuid4(),
            PROXY,
            "kamailio",
            organizations={tenant(one): one.id for one in organizations},
            organizations_by="org",
            settings={OWN_DOMAINS: [domain(one) for one in organizations]},
            topic=PROXY_TOPIC,
        ),
    )
    systems = AttachedSystems(proxy, vendor, f"{stack.receiver_url}/hooks/{vendor.id}")
    await ensure_topic(stack.kafka, systems.proxy_topic, PROXY_PARTITIONS)
    return systems


async def _attach(connection: Connection, box: SecretBox, source: Source) -> Source:
    """The source as it is stored: this one if no other one has its name."""
    found = next((one for one in await read_sources(connection, box) if one.source.name == source.name), None)
    if found is None:
        await store_source(connection, source, box, is_new=True)
        return source
    if found.locked is not None:
        raise Failure(f"The source {source.name} cannot be used: {found.locked}")
    known = replace(found.source, organizations={**found.source.organizations, **source.organizations})
    await store_source(connection, known, box, is_new=False, changed="organizations")
    if not found.enabled:
        await enable_source(connection, known, enabled=True)
    return known
