"""A stack of docker-compose.yml with its own name, ports and image, which a test can query and damage."""

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.support.repository import ROOT

OURS = ("receiver", "ingest", "aggregator", "publisher", "webhooks", "api")
SERVERS = ("postgres", "kafka")
START_SECONDS = 300


def docker(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """Returns the output of the command. Raises an error with the output when it fails."""
    done = subprocess.run(
        ["docker", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Compose:
    project: str
    on_citus: bool
    api_port: int
    receiver_port: int
    kafka_port: int
    prometheus_port: int

    @property
    def image(self) -> str:
        return f"{self.project}:test"

    @property
    def servers(self) -> tuple[str, ...]:
        """The services that are not callfold's."""
        return (*SERVERS, "postgres-1", "postgres-2") if self.on_citus else SERVERS

    def __call__(self, *arguments: str) -> str:
        """`docker compose` for this stack, as it is without a .env; what it prints."""
        overlays = ("kafka-port", "citus") if self.on_citus else ("kafka-port",)
        files = [part for overlay in overlays for part in ("-f", f"docker-compose.{overlay}.yml")]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLFOLD_")}
        environment |= {
            "DOCKER_BUILDKIT": "1",
            "IMAGE": self.image,
            "API_PORT": str(self.api_port),
            "RECEIVER_PORT": str(self.receiver_port),
            "KAFKA_PORT": str(self.kafka_port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
            # Calls of a backlog must not get synthetic ends.
            "CALLFOLD_SILENCE_HOURS": "10000",
        }
        return docker(
            *("compose", "--env-file", os.devnull, "-p", self.project, "-f", "docker-compose.yml", *files),
            *("--profile", "observability", *arguments),  # else `down` would leave it running
            environment=environment,
        )

    def callfold(self, *arguments: str) -> str:
        """Runs an operator's command in a new container."""
        return self("run", "--rm", "-T", "callfold", *arguments)

    def inspect(self, service: str) -> dict[str, Any]:
        """The engine's state of the service's only container, running or exited."""
        (container,) = self("ps", "--all", "--quiet", service).split()
        (known,) = json.loads(docker("inspect", container))
        return dict(known)

    def kill(self, service: str) -> None:
        """Kills the service's process as the kernel does when memory runs out. `docker kill` counts as an
        operator's request, and the container would stay stopped."""
        pid = self.inspect(service)["State"]["Pid"]
        kill = f"import os; os.kill({pid}, 9)"
        docker(
            *("run", "--rm", "--pid", "host", "--user", "0", "--network", "none", "--no-healthcheck"),
            *(self.image, "python", "-c", kill),
        )

    def remove(self) -> None:
        """Removes containers, volumes, network and image."""
        self("down", "--volumes", "--remove-orphans", "--timeout", "5")
        docker("image", "rm", "--force", self.image)
