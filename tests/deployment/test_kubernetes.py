"""Checks the manifests in deploy/kubernetes: each against the Kubernetes schema, and all of them together."""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import trustme
import yaml

from shared.settings.aggregator import AggregatorSettings
from shared.settings.api import ApiSettings
from shared.settings.base import PREFIX
from shared.settings.ingest import IngestSettings
from shared.settings.misspelt import ALL_SETTINGS
from shared.settings.receiver import ReceiverSettings
from shared.settings.webhooks import WebhooksSettings
from tests.support.repository import ROOT

DIRECTORY = ROOT / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
"""Kubernetes 1.30 added the sleep in preStop."""

AUTHORITIES = "/etc/callfold/ca.pem"
OF_THEIR_OWN = ("callfold-api", "callfold-receiver", "callfold-webhooks")
"""The workloads with a secret of their own."""
Manifest = dict[str, Any]


def _documents() -> dict[str, Manifest]:
    return {
        f"{path.name}: {document['kind']} {document['metadata']['name']}": document
        for path in sorted(DIRECTORY.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    }


DOCUMENTS = _documents()
KUSTOMIZATION = yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text())


def of_kind(*kinds: str) -> list[Manifest]:
    return [document for document in DOCUMENTS.values() if document["kind"] in kinds]


def named(kind: str, name: str) -> Manifest:
    (found,) = [document for document in of_kind(kind) if document["metadata"]["name"] == name]
    return found


WORKLOADS = of_kind("Deployment", "Job")


def pod(workload: Manifest) -> Manifest:
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def containers(workload: Manifest) -> list[Manifest]:
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


def pod_labels(workload: Manifest) -> dict[str, str]:
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_each_is_what_kubernetes_knows(document: Manifest, kubernetes: str) -> None:
    """Strict: an unknown field is also an error."""
    kubernetes_validate.validate(document, kubernetes, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**of_kind("ConfigMap")[0], "dta": {}}, NEWEST, strict=True)


def test_all_but_the_example_of_a_secret_are_applied() -> None:
    files = {path.name for path in DIRECTORY.glob("*.yaml")}
    assert set(KUSTOMIZATION["resources"]) == files - {"kustomization.yaml", "secret.example.yaml"}
    assert not any("namespace" in document["metadata"] for document in DOCUMENTS.values())
    assert KUSTOMIZATION["images"] == [{"name": "callfold", "newTag": version("callfold")}]


@pytest.mark.parametrize("secret", ["callfold", "callfold-api", "callfold-receiver", "callfold-webhooks"])
def test_every_setting_exists_and_can_be_read(
    secret: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = named("ConfigMap", "callfold")["data"] | named("Secret", secret)["stringData"]
    known = {f"{PREFIX}{field.upper()}": of for of in ALL_SETTINGS for field in of.model_fields}
    assert set(given) <= set(known)
    mount(given, monkeypatch, tmp_path)
    for of in {known[name] for name in given}:
        of()


def mount(given: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Makes the settings of a pod readable here. The CA file gets another path."""
    authorities = directory / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authorities))
    for name, value in given.items():
        monkeypatch.setenv(name, value.replace(AUTHORITIES, str(authorities)))


def test_the_documented_overlay_works_as_it_is_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (DIRECTORY.parent.parent / "docs" / "how-to" / "deploy-on-kubernetes.md").read_text()
    (overlay,) = re.findall(r"```yaml\n(apiVersion: kustomize.*?)```", page, re.DOTALL)
    patch = yaml.safe_load(yaml.safe_load(overlay)["patches"][0]["patch"])
    typed = re.findall(r"create secret generic (\S+) ((?:.*\\\n)*.*)", page)
    secrets = {name: dict(re.findall(r"--from-literal=(\w+)='(.*?)'", literals)) for name, literals in typed}
    settings_of = {
        "callfold-ingest": IngestSettings,
        "callfold-aggregator": AggregatorSettings,
        "callfold-api": ApiSettings,
        "callfold-receiver": ReceiverSettings,
        "callfold-webhooks": WebhooksSettings,
    }
    for workload, of in settings_of.items():
        (container,) = containers(named("Deployment", workload))
        given = named(patch["kind"], patch["metadata"]["name"])["data"] | patch["data"]
        for source in container["envFrom"]:
            given |= secrets[source["secretRef"]["name"]] if "secretRef" in source else {}
        with monkeypatch.context() as pod_environment:
            mount(given, pod_environment, tmp_path)
            read = of()
        assert read.database_url.endswith("sslmode=verify-full&sslrootcert=" + str(tmp_path / "ca.pem"))
        assert ("CALLFOLD_KAFKA_PASSWORD" in given) == (workload not in ("callfold-api", "callfold-webhooks"))
    assert secrets["callfold"]["CALLFOLD_DATABASE_URL"] != secrets["callfold-api"]["CALLFOLD_DATABASE_URL"]
    assert f"kubectl create namespace {yaml.safe_load(overlay)['namespace']}\n" in page


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each["metadata"]["name"])
def test_no_container_may_more_than_it_needs(workload: Manifest) -> None:
    assert pod(workload)["automountServiceAccountToken"] is False
    context = pod(workload)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(workload):
        assert container["image"] == "callfold", "the kustomization names the image"
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        name = workload["metadata"]["name"]
        secret = name if name in OF_THEIR_OWN else "callfold"
        assert container["envFrom"] == [
            {"configMapRef": {"name": "callfold"}},
            {"secretRef": {"name": secret}},
        ]
        (mounted,) = container["volumeMounts"]
        assert mounted["mountPath"] == str(Path(AUTHORITIES).parent)
        assert [volume["name"] for volume in pod(workload)["volumes"]] == [mounted["name"]]


@pytest.mark.parametrize("deployment", of_kind("Deployment"), ids=lambda each: each["metadata"]["name"])
def test_every_service_is_asked_whether_it_lives_and_is_ready(deployment: Manifest) -> None:
    (container,) = containers(deployment)
    name = deployment["metadata"]["labels"]["app.kubernetes.io/component"]
    assert container["command"] == ["python", "-m", f"services.{name}"]
    assert {"name": "monitor", "containerPort": 9464} in container["ports"]
    paths = {
        probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": {"path": "/health/live", "port": "monitor"},
        "livenessProbe": {"path": "/health/live", "port": "monitor"},
        "readinessProbe": {"path": "/health/ready", "port": "monitor"},
    }
    (spread,) = pod(deployment)["topologySpreadConstraints"]
    for selector in (deployment["spec"]["selector"], spread["labelSelector"]):
        assert selects(selector["matchLabels"], pod_labels(deployment))
    others = [each for each in WORKLOADS if each is not deployment]
    assert not any(
        selects(deployment["spec"]["selector"]["matchLabels"], pod_labels(each)) for each in others
    )


def test_a_stop_has_the_time_that_it_takes() -> None:
    ingest = IngestSettings.model_fields["stop_timeout_seconds"].default
    assert pod(named("Deployment", "callfold-ingest"))["terminationGracePeriodSeconds"] > ingest
    assert f"CALLFOLD_STOP_TIMEOUT_SECONDS ({ingest:g})" in (DIRECTORY / "ingest.yaml").read_text()
    for name in ("callfold-api", "callfold-receiver"):
        server = pod(named("Deployment", name))
        before = server["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert server["terminationGracePeriodSeconds"] > before + 10


def test_budgets_and_autoscalers_are_for_what_exists() -> None:
    names = {deployment["metadata"]["name"] for deployment in of_kind("Deployment")}
    assert {budget["metadata"]["name"] for budget in of_kind("PodDisruptionBudget")} == names
    for budget in of_kind("PodDisruptionBudget"):
        deployment = named("Deployment", budget["metadata"]["name"])
        assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    for scaler in of_kind("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == scaler["metadata"]["name"]
        deployment = named("Deployment", scaler["metadata"]["name"])
        assert "replicas" not in deployment["spec"], "applying it would undo the autoscaler's number"
        assert scaler["spec"]["minReplicas"] >= 2, "evicting one pod must always be allowed"


def test_ingest_never_outgrows_its_partitions_and_scales_by_a_metric_that_is() -> None:
    (topic,) = pod(named("Job", "callfold-migrate"))["containers"]
    partitions = int(topic["command"][topic["command"].index("--partitions") + 1])
    scaler = named("HorizontalPodAutoscaler", "callfold-ingest")["spec"]
    assert scaler["maxReplicas"] == partitions
    documented = (DIRECTORY.parent.parent / "docs" / "reference" / "metrics.md").read_text()
    assert f"`{scaler['metrics'][0]['pods']['metric']['name']}`" in documented


def _ports(workload: Manifest) -> Iterator[str]:
    for container in containers(workload):
        yield from (port["name"] for port in container.get("ports", []))


def test_services_and_policies_lead_to_ports_that_are_open() -> None:
    for service in of_kind("Service"):
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        selected = [
            each for each in of_kind("Deployment") if selects(service["spec"]["selector"], pod_labels(each))
        ]
        assert selected
        assert all(targets <= set(_ports(each)) for each in selected)
    for policy in of_kind("NetworkPolicy"):
        selector = policy["spec"]["podSelector"]["matchLabels"]
        selected = [each for each in WORKLOADS if selects(selector, pod_labels(each))]
        assert selected
        reached = {port["port"] for rule in policy["spec"].get("ingress", ()) for port in rule["ports"]}
        assert reached <= {port for each in selected for port in _ports(each)}
