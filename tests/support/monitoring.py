"""Requests to a service's monitor, as Prometheus and a kubelet send them."""

from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Monitor:
    """The monitor of a service that runs, or will be started."""

    port: int

    async def request(self, method: str, path: str) -> httpx.Response:
        """Returns the response. Raises httpx's errors when the monitor does not respond."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.request(method, f"http://127.0.0.1:{self.port}{path}")

    async def get(self, path: str) -> httpx.Response:
        return await self.request("GET", path)

    async def reason_to_wait(self) -> str:
        """The reason why the service is not ready; empty when it is ready, or does not respond yet."""
        try:
            answer = await self.get("/health/ready")
        except httpx.TransportError:
            return ""
        return str(answer.json()["reason"]) if answer.status_code == 503 else ""

    async def is_ready(self) -> bool:
        try:
            return (await self.get("/health/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def families(self) -> dict[str, Any]:
        """The metrics by name, as Prometheus's client reads them."""
        text = (await self.get("/metrics")).text
        return {family.name: family for family in text_string_to_metric_families(text)}

    async def value(self, sample: str, **labels: str) -> float | None:
        """One sample's value; None if there is no such sample."""
        values = [
            found.value
            for family in (await self.families()).values()
            for found in family.samples
            if (found.name, found.labels) == (sample, labels)
        ]
        return values[0] if values else None
