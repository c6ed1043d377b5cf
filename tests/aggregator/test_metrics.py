"""The aggregator's metrics of several servers."""

from services.aggregator.metrics import Metrics


def _value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"callfold_aggregator_{name}")


def test_it_waits_while_any_of_its_servers_is_away() -> None:
    metrics = Metrics()
    assert metrics.waiting == "connects to the database"
    with metrics.server("one") as one, metrics.server("two") as two:
        one.waiting = None
        assert metrics.waiting == "connects to the database"
        two.waiting = "waits for the database: it is unreachable"
        one.waiting = None  # whose deltas are applied all the time
        assert metrics.waiting == "waits for the database: it is unreachable"
        assert _value(metrics, "waiting") == 1
        two.waiting = None
        assert metrics.waiting is None
        assert _value(metrics, "waiting") == 0


def test_the_deltas_of_all_servers_wait_until_a_server_is_gone() -> None:
    metrics = Metrics()
    with metrics.server("one") as one:
        one.wait(3, 5.0)
        one.applied(7, 0.1)
        with metrics.server("two") as two:
            two.wait(4, 9.0)
            assert _value(metrics, "progress_timestamp_seconds") == 0, "one has not looked yet"
            two.applied(1, 0.1)
            assert _value(metrics, "progress_timestamp_seconds") == one.looked_at
            assert (_value(metrics, "deltas_waiting"), _value(metrics, "oldest_delta_seconds")) == (7, 9.0)
        assert (_value(metrics, "deltas_waiting"), _value(metrics, "oldest_delta_seconds")) == (3, 5.0)
        assert _value(metrics, "deltas_applied_total") == 8
