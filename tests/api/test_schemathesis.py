"""Schemathesis sends requests that the OpenAPI document allows, and requests that it forbids. Every answer
must be documented, and no forbidden request may be accepted."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import httpx
import pytest

from shared.calls.event import Status
from shared.database.connection import Connection
from shared.database.roles import API
from shared.secret_box import SecretBox, new_key
from shared.store.webhook_deliveries import send_test
from shared.store.webhooks import create_webhook, find_webhook
from tests.support import seed
from tests.support.api import NOW, bearing
from tests.support.monitoring import Monitor
from tests.support.processes import Service, until
from tests.support.repository import ROOT
from tests.support.roles import as_role

pytestmark = pytest.mark.long

HOOKS = ROOT / "tests" / "support" / "schemathesis_hooks.py"
CALLS = 120
WEBHOOKS = 5
DELIVERIES = 10

# One worker: in Python 3.11, threads that parse source at the same time get a SystemError (gh-106905).
CONFIGURATION = """
hooks = {hooks}
workers = 1

[headers]
Authorization = {authorization}

[generation]
with-security-parameters = false
deterministic = true
database = "none"
max-examples = {examples}

# Its answers have no end, and Schemathesis reads each answer to its end. tests/stream has its tests.
[[operations]]
include-path = "/calls/stream"
enabled = false

[dictionaries.calls]
values = {call_ids}

[dictionaries.deliveries]
values = {delivery_ids}

[parameters]
"path.id" = {{ dictionary = "calls", probability = 0.9 }}
"path.delivery_id" = {{ dictionary = "deliveries", probability = 0.9 }}

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "404"]
"""


async def test_schemathesis_finds_nothing(
    database: Connection,
    database_url: str,
    free_tcp_port_factory: Callable[[], int],
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    acme = await seed.tenant(database, "Europe/Berlin")
    call_ids = [await _call(database, acme, number) for number in range(CALLS)]
    secrets_key = new_key()
    box = SecretBox([secrets_key])
    webhook_ids = [await _webhook(database, acme, box) for _ in range(WEBHOOKS)]
    # The hooks let no request change or delete this one.
    kept = await _webhook(database, acme, box)
    delivery_ids = await _deliveries(database, acme, kept)
    monitor, port = Monitor(free_tcp_port_factory()), free_tcp_port_factory()
    (tmp_path / "schemathesis.toml").write_text(
        CONFIGURATION.format(
            hooks=json.dumps(str(HOOKS)),
            authorization=json.dumps(bearing(acme.key)["Authorization"]),
            examples=pytestconfig.getoption("--schemathesis-examples"),
            call_ids=json.dumps(call_ids + CALLS // WEBHOOKS * [str(id_) for id_ in webhook_ids]),
            delivery_ids=json.dumps(delivery_ids),
        )
    )
    api = Service(
        "api",
        tmp_path / "log",
        database_url=as_role(database_url, API),
        monitor_port=str(monitor.port),
        api_port=str(port),
        secrets_key=secrets_key,
        webhook_networks="10.0.0.0/8",  # so that http:// is allowed
    )
    try:
        await until(monitor.is_ready, "the API to be ready")
        status, said = await _schemathesis(f"http://127.0.0.1:{port}", tmp_path, acme, kept)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            document = (await client.get("/openapi.json")).json()
        requests = (await monitor.families())["callfold_api_requests"]
    finally:
        api.stop()

    assert status == 0, said
    succeeded = {
        (sample.labels["route"].partition("?")[0], sample.labels["method"])
        for sample in requests.samples
        if sample.labels.get("status", "").startswith("2")
    }
    assert {
        (path, method.upper())
        for path, methods in document["paths"].items()
        if path != "/calls/stream"
        for method in methods
    } <= succeeded, "no operation is tested by refusals alone"


async def _schemathesis(url: str, directory: Path, tenant: seed.Tenant, webhook_id: UUID) -> tuple[int, str]:
    """Its exit status and output. `directory` has its configuration, and it stores its state there."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{url}/openapi.json",
        f"--url={url}",
        "--checks=all",
        "--continue-on-failure",
        "--no-color",
        cwd=directory,
        env={
            **os.environ,
            "NO_PROXY": "127.0.0.1",
            "ORGANIZATION_ID": str(tenant.id),
            "WEBHOOK_ID": str(webhook_id),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    return running.returncode or 0, said.decode()


async def _webhook(database: Connection, tenant: seed.Tenant, box: SecretBox) -> UUID:
    """The id of a new webhook."""
    async with database.transaction():
        webhook, _ = await create_webhook(
            database,
            box,
            organization_id=tenant.id,
            livemode=True,
            url="https://example.com",
            description="",
            types=[],
            actor="test",
        )
    return webhook.id


async def _deliveries(database: Connection, tenant: seed.Tenant, webhook_id: UUID) -> list[int]:
    """The ids of new deliveries of a webhook."""
    async with database.transaction():
        webhook = await find_webhook(database, tenant.id, webhook_id)
        assert webhook is not None
        return [await send_test(database, webhook, NOW) for _ in range(DELIVERIES)]


async def _call(database: Connection, tenant: seed.Tenant, number: int) -> str:
    """A call with every field or with none; in each status in turn."""
    statuses: tuple[Status, ...] = get_args(Status)
    known: dict[str, Any] = {
        "from_number": f"+4930{number:06}",
        "to_number": "sip:reception@example.com",
        "direction": ("inbound", "outbound")[number % 2],
        "duration": number,
        "cost": "1.25",
        "latency_ms": 20 * number,
        "phone_number_id": "6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c11",
        "endpoint_id": "6f1c2f0e-5d1b-4d0a-9a59-3f0f6f2b7c12",
        "recording_url": f"https://recordings.example.com/{number}.mp3",
        "hangup_cause": "NORMAL_CLEARING",
        "transcript": "Good morning",
    }
    return str(
        await seed.call(
            database,
            tenant,
            status=statuses[number % len(statuses)],
            call_id=f"{number}@pbx.example" if number % 3 else None,
            **(known if number % 10 else {}),
        )
    )
