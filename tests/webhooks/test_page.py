"""docs/how-to/send-webhooks.md: its endpoint works."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from shared.database.connection import Connection
from shared.store.webhook_deliveries import send_test
from tests.support.events import NOON
from tests.support.processes import until
from tests.support.repository import ROOT
from tests.support.webhook_receiver import WebhookReceiver
from tests.webhooks.conftest import AddWebhook, StartWebhooks

PAGE = ROOT / "docs" / "how-to" / "send-webhooks.md"


async def test_the_endpoint_of_the_page_verifies_and_drops_repeats(
    database: Connection,
    add_webhook: AddWebhook,
    start_webhooks: StartWebhooks,
    free_tcp_port_factory: Callable[[], int],
    tmp_path: Path,
) -> None:
    (program,) = re.findall("```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    port = free_tcp_port_factory()
    page = WebhookReceiver(f"http://127.0.0.1:{port}/")
    webhook = await add_webhook(page)
    assert page.secret is not None
    output = tmp_path / "output"
    with output.open("w") as written:
        endpoint = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "WEBHOOK_SECRET": page.secret, "PORT": str(port)},
            stdout=written,
        )
    try:
        start_webhooks()
        async with database.transaction():
            await send_test(database, webhook, NOON)

        async def delivered(attempts: int) -> bool:
            await database.execute(
                "UPDATE webhook_deliveries SET due_at = now() WHERE due_at IS NOT NULL"  # it may start late
            )
            return bool(
                await database.fetchval(
                    "SELECT delivered_at IS NOT NULL AND attempts >= $1 FROM webhook_deliveries", attempts
                )
            )

        await until(lambda: delivered(1), "the message to be delivered")
        await database.execute("UPDATE webhook_deliveries SET due_at = now()")
        await until(lambda: delivered(2), "the message to be delivered again")
    finally:
        endpoint.kill()
        endpoint.wait(10)
    assert output.read_text().count("webhook.test") == 1
