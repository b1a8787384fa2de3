"""What a process counts for Prometheus, through Ray's metrics (exported as `ray_<name>`).

Counters are of the process: `rate()` and `increase()` see a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Counters:
    """The metrics of one process, made by their names: `_total` counts, `_seconds` is a histogram.

    Every other one is a gauge.

    Args:
        meanings: what each counts, by its name.
        tags: of those that have some.
        boundaries: of the histograms, in seconds.
    """

    def __init__(
        self,
        meanings: Mapping[str, str],
        tags: Mapping[str, tuple[str, ...]],
        boundaries: Sequence[float] = (),
    ) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        self._metrics: dict[str, Any] = {}
        for name, meaning in meanings.items():
            keys = tags.get(name, ())
            if name.endswith("_total"):
                self._metrics[name] = Counter(name, meaning, keys)
            elif name.endswith("_seconds"):
                self._metrics[name] = Histogram(name, meaning, list(boundaries), keys)
            else:
                self._metrics[name] = Gauge(name, meaning, keys)

    def add(self, name: str, number: float = 1, **tags: str) -> None:
        """Count so much more."""
        if number:  # Ray refuses to add nothing
            self._metrics[name].inc(number, tags=tags)

    def observe(self, name: str, seconds: float, **tags: str) -> None:
        """Add an observation to a histogram."""
        self._metrics[name].observe(seconds, tags=tags)

    def state(self, name: str, number: float) -> None:
        """State what a gauge shows."""
        self._metrics[name].set(number)
