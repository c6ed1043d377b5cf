"""A cluster of three brokers on this machine. A topic on it survives the death of any one broker."""

import base64
import os
import subprocess
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from signal import SIGTERM
from typing import Final

from services.ops.embedded import jars, kafka
from services.ops.embedded.servers import Server
from services.ops.embedded.state import free_ports

BROKERS: Final = 3
FORMAT_SECONDS: Final = 60

# Appended to the embedded broker's properties. Kafka uses the last value of a duplicate name.
PROPERTIES: Final = """
node.id={node}
controller.quorum.voters={voters}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
replica.lag.time.max.ms=5000
"""


def cluster(directory: Path) -> tuple[list[Server], str]:
    """Three brokers in a directory, formatted and not yet started, and their addresses. Raises Failure, and
    CalledProcessError when the storage cannot be formatted."""
    ports = free_ports(2 * BROKERS)
    own, controllers = ports[:BROKERS], ports[BROKERS:]
    voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in enumerate(controllers, 1))
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    nodes = [directory / f"kafka-{n}" for n in range(1, BROKERS + 1)]
    for n, (node, port, controller_port) in enumerate(zip(nodes, own, controllers, strict=True), 1):
        _configure(node, n, port, controller_port, voters)
    with ThreadPoolExecutor(BROKERS) as at_once:
        list(at_once.map(partial(_format, cluster_id), nodes))
    bootstraps = [f"127.0.0.1:{port}" for port in own]
    return [_broker(node, at) for node, at in zip(nodes, bootstraps, strict=True)], ",".join(bootstraps)


def _configure(node: Path, n: int, port: int, controller_port: int, voters: str) -> None:
    (node / "tmp").mkdir(parents=True)
    (node / "class.path").write_text(os.pathsep.join(map(str, jars.class_path())))
    (node / "log4j2.properties").write_text(kafka.LOGGING)
    embedded = kafka.PROPERTIES.format(port=port, controller_port=controller_port, data=node / "data")
    (node / "server.properties").write_text(embedded + PROPERTIES.format(node=n, voters=voters))


def _format(cluster_id: str, node: Path) -> None:
    *java, _, properties = kafka.command(node)
    arguments = ["format", f"--cluster-id={cluster_id}", f"--config={properties}"]
    tool: Sequence[str] = [*java, "kafka.tools.StorageTool", *arguments]
    subprocess.run(tool, check=True, capture_output=True, timeout=FORMAT_SECONDS)


def _broker(node: Path, bootstrap: str) -> Server:
    ready = partial(kafka.wait_until_ready, bootstrap)
    return Server(kafka.command(node), node.with_suffix(".log"), None, SIGTERM, ready)
