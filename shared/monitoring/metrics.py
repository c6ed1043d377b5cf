"""What the metrics of all services have in common. Each service defines its own in its `metrics.py`.

docs/reference/metrics.md lists them all. A test compares the two.
"""

from collections.abc import Callable
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
"""Buckets of what takes milliseconds by rights, and minutes while the database is away."""


def new_registry(service: str) -> CollectorRegistry:
    """A registry that has what each service tells of itself: its version, its time-zone rules and its
    process."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    info = Gauge("callfold_build_info", "1", ["service", "version"], registry=registry)
    info.labels(service, version("callfold")).set(1)
    rules = Gauge("callfold_time_zone_rules_info", "1", ["version"], registry=registry)
    rules.labels(RULES_VERSION).set(1)
    return registry


class GaugeAtScrape(Collector):
    """A gauge with one label whose values are asked for when they are scraped: what is not there any more is
    not exported any more."""

    def __init__(
        self,
        name: str,
        documentation: str,
        label: str,
        values: Callable[[], dict[str, float]],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._values = values
        registry.register(self)

    def describe(self) -> list[GaugeMetricFamily]:
        """The gauge without values, by which the registry knows its name."""
        return [GaugeMetricFamily(self._name, self._documentation, labels=[self._label])]

    def collect(self) -> list[GaugeMetricFamily]:
        """The gauge as it is now."""
        (gauge,) = self.describe()
        for label, value in self._values().items():
            gauge.add_metric([label], value)
        return [gauge]
