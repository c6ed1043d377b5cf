"""Alerts and dashboard use only metrics that exist, in expressions that Prometheus accepts."""

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests.support.repository import ROOT

OBSERVABILITY = ROOT / "deploy" / "observability"
DASHBOARD = json.loads((OBSERVABILITY / "grafana" / "dashboards" / "callfold.json").read_text())
ALERTS = [
    rule
    for group in yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PROCESS_METRICS = {"up", "process_resident_memory_bytes"}


def dashboard_expressions() -> Iterator[str]:
    """The dashboard's queries, with a fixed interval in place of Grafana's variable."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "1m")


def documented() -> set[str]:
    """Every series of docs/reference/metrics.md, by its Prometheus name."""
    series: set[str] = set(PROCESS_METRICS)
    rows = re.findall(
        r"^\| `(callfold_\w+)` \| (\w+) \|",
        (ROOT / "docs" / "reference" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    for name, type in rows:
        series |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if type == "histogram" else {name}
    return series


@pytest.mark.parametrize("expression", [*dashboard_expressions(), *(alert["expr"] for alert in ALERTS)])
def test_only_documented_metrics_are_asked_for(expression: str) -> None:
    asked = set(re.findall(r"\b(?:callfold_\w+|process_\w+|up)\b", expression))
    assert asked
    assert asked <= documented()


def test_the_runbook_has_a_heading_for_each_alert_and_the_list_of_conditions_links_to_it() -> None:
    alerts = [alert["alert"] for alert in ALERTS]
    runbook, conditions = (
        (ROOT / "docs" / "how-to" / page).read_text() for page in ("runbook.md", "monitor-and-alert.md")
    )
    assert re.findall(r"^### (Callfold\w+)$", runbook, re.MULTILINE) == alerts
    assert re.findall(r"^\| \[`(Callfold\w+)`\]\(runbook\.md#(\w+)\) \|", conditions, re.MULTILINE) == [
        (alert, alert.lower()) for alert in alerts
    ]


def test_the_tests_of_the_alerts_expect_their_present_descriptions() -> None:
    expected = {
        (one["alertname"], alert["exp_annotations"]["description"])
        for test in yaml.safe_load((OBSERVABILITY / "alerts.test.yml").read_text())["tests"]
        for one in test["alert_rule_test"]
        for alert in one["exp_alerts"]
    }
    assert expected == {(alert["alert"], alert["annotations"]["description"]) for alert in ALERTS}


def test_every_panel_asks_the_provisioned_source_and_has_a_place_of_its_own() -> None:
    provisioned = (OBSERVABILITY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    (source,) = yaml.safe_load(provisioned)["datasources"]
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
        at = panel["gridPos"]
        place = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not place & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= place
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.containers
@pytest.mark.parametrize(
    "arguments", [("check", "config", "/c/prometheus.yml"), ("test", "rules", "/c/alerts.test.yml")]
)
def test_alerts_come_when_they_should(arguments: tuple[str, ...]) -> None:
    promtool = ("--entrypoint", "promtool", "--volume", f"{OBSERVABILITY}:/c:ro", "prom/prometheus")
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", *promtool, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
