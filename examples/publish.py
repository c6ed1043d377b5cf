"""Publishes one call as a telephony system would: python examples/publish.py BOOTSTRAP ORGANIZATION_ID"""

import asyncio
import json
import sys
import uuid
from datetime import UTC, datetime, timedelta

from aiokafka import AIOKafkaProducer


def events_of_a_call(organization_id: str, call_id: str) -> list[bytes]:
    """Returns the record values of a call that was answered after six seconds and lasted a minute."""
    start = datetime.now(UTC) - timedelta(minutes=2)

    def event(type: str, seconds: int, **data: object) -> bytes:
        return json.dumps(
            {
                # Generated once per event. A retry with the same id is dropped as a duplicate.
                "id": f"evt_{uuid.uuid4().hex}",
                "type": type,
                "organization_id": organization_id,
                "call_id": call_id,
                "timestamp": (start + timedelta(seconds=seconds)).isoformat(),
                "data": data,
            }
        ).encode()

    return [
        event("call.initiated", 0, direction="inbound", from_number="+493012345", to_number="+12125550100"),
        event("call.ringing", 1),
        event("call.answered", 6, latency_ms=120),
        event("call.completed", 66, duration=60, cost=1.25, hangup_cause="NORMAL_CLEARING"),
    ]


async def main(bootstrap: str, organization_id: str) -> None:
    call_id = str(uuid.uuid4())
    # Idempotent, and acknowledged by all in-sync replicas: each record is stored once and in order.
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all") as producer:
        for value in events_of_a_call(organization_id, call_id):
            await producer.send_and_wait("call-events", value, key=call_id.encode())
    print(call_id)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: examples/publish.py BOOTSTRAP ORGANIZATION_ID")
    asyncio.run(main(*sys.argv[1:]))
