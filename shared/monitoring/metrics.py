"""The common part of all services' metrics. Each service defines its own metrics in its `metrics.py`.

docs/reference/metrics.md lists them all. A test compares the two.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shared.calls.zones import RULES_VERSION

BATCH_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Buckets for durations of milliseconds, or of minutes while the database is unreachable."""


def new_registry(service: str) -> CollectorRegistry:
    """A registry with the metrics common to all services: version, time-zone rules and process."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    info = Gauge(
        "callfold_build_info",
        "Always 1, with the service and its version as labels",
        ["service", "version"],
        registry=registry,
    )
    info.labels(service, version("callfold")).set(1)
    rules = Gauge(
        "callfold_time_zone_rules_info",
        "Always 1, with the release of the time-zone rules as label",
        ["version"],
        registry=registry,
    )
    rules.labels(RULES_VERSION).set(1)
    return registry


class GaugeAtScrape(Collector):
    """A gauge with labels whose values are computed at each scrape, so that a label that no longer exists is
    no longer exported."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: tuple[str, ...],
        values: Callable[[], Mapping[tuple[str, ...], float]],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._values = values
        registry.register(self)

    def describe(self) -> list[GaugeMetricFamily]:
        """The gauge without values, from which the registry reads its name."""
        return [GaugeMetricFamily(self._name, self._documentation, labels=self._labels)]

    def collect(self) -> list[GaugeMetricFamily]:
        """The gauge with its current values."""
        (gauge,) = self.describe()
        for labels, value in self._values().items():
            gauge.add_metric(labels, value)
        return [gauge]
