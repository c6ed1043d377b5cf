"""Checks the Compose files as YAML, without Docker."""

import os
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from services.ops.embedded.kafka import PROPERTIES
from shared.database.roles import ROLES
from shared.settings.base import PREFIX
from shared.settings.misspelt import ALL_SETTINGS
from tests.support.compose import OURS, SERVERS, docker
from tests.support.repository import ROOT

FILES = sorted(ROOT.glob("docker-compose*.yml"))
ONE_SHOT = ("migrate", "topic")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of docker-compose.yml, with shared settings merged in."""
    found = dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
    return {
        name: found[one["extends"]["service"]] | one if "extends" in one else one
        for name, one in found.items()
    }


def test_only_the_api_and_the_receiver_are_published_unless_a_profile_is_asked_for(
    services: dict[str, Any],
) -> None:
    published = {name: one["ports"] for name, one in services.items() if "ports" in one}
    assert {name for name in published if "profiles" not in services[name]} == {
        "api",
        "receiver",
    }
    for ports in published.values():
        (port,) = ports
        assert port.startswith(
            ("127.0.0.1:", "${API_ADDRESS:-127.0.0.1}:", "${RECEIVER_ADDRESS:-127.0.0.1}:")
        )


@pytest.mark.parametrize("service", [*OURS, *ONE_SHOT])
def test_ours_write_nothing_and_may_nothing(services: dict[str, Any], service: str) -> None:
    one = services[service]
    assert one["read_only"]
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert "tmpfs" not in one
    assert one["restart"] == ("no" if service in ONE_SHOT else "unless-stopped")


def test_each_is_bounded_watched_and_starts_again(services: dict[str, Any]) -> None:
    # callfold's services use the health check of the image.
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()
    for name, one in services.items():
        assert one["mem_limit"], name
        assert one["logging"]["options"]["max-size"], name
        if name in (*ONE_SHOT, "callfold"):
            assert (one["restart"], one["healthcheck"]) == ("no", {"disable": True})
        else:
            assert one["restart"] == "unless-stopped", name
            assert name in OURS or one["healthcheck"]["test"], name


def test_each_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    healthy = {"condition": "service_healthy"}
    others = {name: {**healthy, "required": False} for name in ("kafka-2", "kafka-3")}
    assert services["topic"]["depends_on"] == {"kafka": healthy, **others}
    for service in OURS:
        # A failed one-shot job must not stop ingest and the API, which wait by themselves.
        condition = "service_completed_successfully" if service == "aggregator" else "service_started"
        assert services[service]["depends_on"] == {one: {"condition": condition} for one in ONE_SHOT}


def test_each_connects_as_its_own_role(services: dict[str, Any]) -> None:
    password = "${POSTGRES_PASSWORD:-only-for-trying}"
    users = {**{f"callfold_{name}": name for name in OURS}, "callfold_operator": "callfold"}
    assert set(users) == set(ROLES)
    for user, service in {**users, "callfold": "migrate"}.items():
        url = services[service]["environment"]["CALLFOLD_DATABASE_URL"]
        assert url == f"postgresql://{user}:{password}@postgres:5432/callfold"
    assert services["migrate"]["command"] == ["callfold", "migrate", "--roles"]
    assert services["migrate"]["environment"]["CALLFOLD_ROLES_PASSWORD"] == password


def test_one_builds_the_image_and_all_of_ours_take_it(services: dict[str, Any]) -> None:
    assert [name for name, one in services.items() if "build" in one] == ["migrate"]
    assert {services[name]["image"] for name in (*OURS, *ONE_SHOT, "callfold")} == {"${IMAGE:-callfold}"}
    for service in OURS:  # or `up --build ingest` would not build it
        assert "migrate" in services[service]["depends_on"]


def test_every_setting_is_one_that_callfold_has() -> None:
    known = {f"{PREFIX}{field.upper()}" for of in ALL_SETTINGS for field in of.model_fields}
    for file in (*FILES, ROOT / ".env.example", ROOT / "Dockerfile"):
        named = set(re.findall(r"\bCALLFOLD_[A-Z_]+\b", file.read_text()))
        assert named - known <= {"CALLFOLD_PROGRAM", "CALLFOLD_"}, file.name


def test_every_variable_is_explained_in_the_example_with_its_default() -> None:
    example = (ROOT / ".env.example").read_text()
    explained = dict(re.findall(r"^#([A-Z_0-9]+)=(.*)$", example, re.MULTILINE))
    text = "".join(file.read_text() for file in FILES)
    defaults = dict(re.findall(r"\$\{([A-Z_0-9]+):-([^}]*)\}", text))
    of_the_cluster = set(re.findall(r"^([A-Z_0-9]+)=", (ROOT / ".env.cluster").read_text(), re.MULTILINE))
    assert of_the_cluster - {"COMPOSE_PROFILES"} <= defaults.keys()
    assert defaults.keys() - of_the_cluster - {"KAFKA_PORT_2", "KAFKA_PORT_3"} <= explained.keys()
    assert {name: explained[name] for name in defaults.keys() & explained.keys()} == {
        name: default for name, default in defaults.items() if name in explained
    }
    passed_on = set(re.findall(r"^ +(CALLFOLD_[A-Z_]+):$", text, re.MULTILINE))
    assert passed_on | defaults.keys() >= explained.keys()


def test_the_password_for_trying_says_what_it_is() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{\w*PASSWORD:-([^}]*)\}", text)) == {"only-for-trying"}


def test_kafka_is_set_up_as_the_embedded_one(services: dict[str, Any]) -> None:
    embedded = dict(line.split("=", 1) for line in PROPERTIES.splitlines() if "=" in line and line[0] != "#")
    broker = services["kafka"]["environment"]
    for name in (
        "auto.create.topics.enable",
        "offsets.retention.minutes",
        "message.max.bytes",
        "replica.fetch.max.bytes",
        "broker.session.timeout.ms",
    ):
        assert str(broker[f"KAFKA_{name.upper().replace('.', '_')}"]) == embedded[name]
    assert broker["KAFKA_LOG_RETENTION_HOURS"].endswith(f":-{embedded['log.retention.hours']}}}")


ALONE = {*OURS, *SERVERS, *ONE_SHOT}
WITH = {"kafka-port": set[str](), "citus": {"citus", "postgres-1", "postgres-2"}}
"""The overlays, and the services that each adds."""


def test_every_overlay_is_checked() -> None:
    assert {file.name for file in FILES} == {"docker-compose.yml", *map("docker-compose.{}.yml".format, WITH)}


@pytest.mark.parametrize("overlays", [(), ("kafka-port",), ("citus",), tuple(WITH)])
@pytest.mark.parametrize(
    ("options", "more"),
    [
        (("--env-file", os.devnull), set[str]()),
        (("--env-file", os.devnull, "--profile", "observability"), {"prometheus", "grafana"}),
        (("--env-file", ".env.cluster"), {"kafka-2", "kafka-3"}),
    ],
)
@pytest.mark.processes
def test_compose_understands_files_and_profiles(
    overlays: tuple[str, ...], options: tuple[str, ...], more: set[str]
) -> None:
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"]).returncode:
        pytest.skip("docker compose is not installed")
    files = ("docker-compose.yml", *map("docker-compose.{}.yml".format, overlays))
    named = [part for file in files for part in ("-f", file)]
    printed = docker("compose", *named, *options, "config", "--services")
    assert set(printed.split()) == ALONE.union(more, *(WITH[overlay] for overlay in overlays))
