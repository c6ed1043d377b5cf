"""Each place where a library is patched or its private parts are used. A test here fails when the library no
longer has the fault, or no longer has the parts. docs/explanation/upstream.md lists them."""

import asyncio
import inspect
import re
import socket
import struct
from importlib.metadata import version
from typing import Any

import asyncpg
import pytest
import uvloop
from aiokafka import AIOKafkaConsumer, cluster
from aiokafka import ConsumerRecord as Record
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed
from aiokafka.protocol import metadata
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.record import memory_records
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.kafka.parser import AioKafkaBatchParser
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk import _shared_internal
from opentelemetry.trace import span
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.database.pooled import PooledConnection
from shared.http.server import _BoundedProtocol
from shared.kafka import connections, token
from shared.kafka.client import connection_faults, mend_aiokafka
from shared.upstream import UpstreamChanged, expect_parts
from tests.support.repository import ROOT

PAGE = (ROOT / "docs/explanation/upstream.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \| .* \| ([a-z-]+) ([\d.]+) \| .* \| (`test_.*) \|$", PAGE, re.MULTILINE)


class RawName(str):
    """A header name that aiokafka's writer accepts as it is."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xffname"


def fetched_batch() -> bytes:
    """A fetch response of a broker: a record, and one whose header name is not UTF-8."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1_000,
    )
    builder.append(0, timestamp=1, key=b"key", value=b"good", headers=[])
    builder.append(1, timestamp=1, key=b"key", value=b"odd", headers=[(RawName("x"), b"value")])
    return bytes(builder.build())


def test_aiokafka_reads_no_header_name_that_is_not_utf8() -> None:
    with pytest.raises(UnicodeDecodeError):
        list(memory_records.MemoryRecords(fetched_batch()).next_batch())
    mend_aiokafka()
    records = list(fetcher.MemoryRecords(fetched_batch()).next_batch())
    assert [(record.value, list(record.headers)) for record in records] == [
        (b"good", []),
        (b"odd", [("\udcffname", b"value")]),
    ]


@pytest.mark.parametrize(
    ("connection", "error"),
    [
        (connections._Connection.__base__, RuntimeError),
        (connections._Connection, KafkaConnectionError),
    ],
    ids=["aiokafka's", "ours"],
)
def test_aiokafka_does_not_expect_that_uvloop_refuses_to_send(
    connection: Any, error: type[Exception]
) -> None:
    """uvloop closes a reset connection at once, and reports it in a later iteration of the loop."""

    async def send_until_reset() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reset = connection(*listener.getsockname())
            connecting = asyncio.create_task(reset.connect())
            broker, _ = await asyncio.to_thread(listener.accept)
            await asyncio.to_thread(broker.recv, 4)
            broker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            broker.close()
            try:
                while reset.connected():
                    reset.send(ApiVersionRequest()).close()
                    await asyncio.sleep(0)
            finally:
                await asyncio.gather(connecting, return_exceptions=True)

    with pytest.raises(error):
        uvloop.run(send_until_reset())


async def test_aiokafka_takes_the_refusal_of_a_token_for_a_consent() -> None:
    class Token:
        async def token(self) -> str:
            return "token"

    refusal = b'{"status":"invalid_token"}'
    theirs = token._Authenticator.__base__(sasl_oauth_token_provider=Token())
    ours = token._Authenticator(sasl_oauth_token_provider=Token())
    for authenticator in (theirs, ours):
        assert await authenticator.step(None) == (b"n,,\x01auth=Bearer token\x01\x01", True)
    assert await theirs.step(refusal) is None
    with pytest.raises(SaslAuthenticationFailed, match="invalid_token"):
        await ours.step(refusal)


async def test_aiokafka_reports_why_it_can_not_connect_to_its_log_alone(free_tcp_port: int) -> None:
    client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{free_tcp_port}")
    heard: list[Exception] = []
    with connection_faults(heard.append), pytest.raises(KafkaConnectionError) as raised:
        await client.bootstrap()
    await client.close()
    assert [type(fault) for fault in heard] == [ConnectionRefusedError]
    assert raised.value.__cause__ is None
    assert "refused" not in str(raised.value).lower()


def test_aiokafka_gives_no_access_to_its_coordinator_and_to_topic_ids() -> None:
    assert not [name for name in dir(AIOKafkaConsumer) if name in ("coordinator_id", "cluster", "client")]
    versions = [
        int(name.rpartition("_v")[2]) for name in dir(metadata) if name.startswith("MetadataRequest_v")
    ]
    assert max(versions) < 10, "requests for metadata from version 10 on report the topic's id"


def test_aiokafka_logs_a_missing_topic_at_each_look() -> None:
    assert '"Topic %s not found' in inspect.getsource(cluster)


async def test_faststream_reads_no_header_that_is_not_utf8() -> None:
    record = Record("topic", 0, 0, 0, 0, None, b"{}", None, 0, 2, (("name", b"\xff"),))
    with pytest.raises(UnicodeDecodeError):
        await AioKafkaBatchParser(KafkaMessage, None).parse_batch((record,))


def test_faststream_takes_no_consumer_of_ours() -> None:
    taken = inspect.signature(KafkaBroker.__init__).parameters
    assert [name for name in taken if "consumer" in name or "builder" in name] == ["consumer_only"]


def test_opentelemetry_reports_each_failure_through_these_loggers() -> None:
    assert _shared_internal._logger.name == "opentelemetry.sdk._shared_internal"
    assert "Queue full" in inspect.getsource(_shared_internal)
    assert trace_exporter._logger.name == trace_exporter.__name__
    assert span._logger.name.startswith("opentelemetry.trace")


def test_uvicorn_has_what_our_protocol_overrides() -> None:
    overridden = {name for name in vars(_BoundedProtocol) if not name.startswith("_")}
    assert len(overridden) == 13
    assert overridden <= set(dir(HttpToolsProtocol))


async def test_asyncpg_begins_a_transaction_by_the_word_begin(database_url: str) -> None:
    connection = await asyncpg.connect(
        database_url, connection_class=PooledConnection, statement_cache_size=0
    )
    connection.begin_each_transaction_with({"work_mem": "7MB"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            assert await connection.fetchval("SHOW work_mem") == "7MB"
        assert await connection.fetchval("SHOW work_mem") == "7MB"
    finally:
        await connection.close()


def test_a_part_that_is_gone_is_reported_by_one_sentence() -> None:
    with pytest.raises(UpstreamChanged) as changed:
        expect_parts("aiokafka", fetcher, "MemoryRecords", "NoSuchPart")
    text = str(changed.value)
    assert text == (
        f"aiokafka {version('aiokafka')} changed aiokafka.consumer.fetcher.NoSuchPart: "
        "see docs/explanation/upstream.md."
    )


def test_the_page_names_files_versions_and_tests_that_exist() -> None:
    assert len(ROWS) == PAGE.count("\n| `"), "each row of the table is read"
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for path, library, since, named in ROWS:
        assert (ROOT / path).is_file(), path
        assert version(library).startswith(f"{since}."), (library, since, version(library))
        for test in re.findall(r"`(test_\w+)`", named):
            assert f"def {test}(" in tests, test
