"""The aggregator: deltas become counts, and no answer changes by it."""
