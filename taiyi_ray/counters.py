"""Numbers that a process gives Prometheus through Ray's metrics (exported as `ray_<name>`).

A counter begins at 0 in each process; Prometheus's `rate()` and `increase()` allow for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Counters:
    """The metrics of one process.

    The name decides the kind: a name in `_total` is a counter, one in `_seconds` a histogram, and
    any other a gauge.

    Args:
        meanings: what each metric says, by its name.
        tags: the names of the tags of each metric that has some.
        boundaries: the boundaries of the histograms' buckets, in seconds.
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
        """Add `number` to a counter.

        Args:
            name: the name of the metric.
            number: how much is added.
            tags: the values of its tags.
        """
        if number:  # Ray refuses to add nothing
            self._metrics[name].inc(number, tags=tags)

    def observe(self, name: str, seconds: float, **tags: str) -> None:
        """Add an observation to a histogram.

        Args:
            name: the name of the metric.
            seconds: the observation.
            tags: the values of its tags.
        """
        self._metrics[name].observe(seconds, tags=tags)

    def state(self, name: str, number: float) -> None:
        """Set a gauge."""
        self._metrics[name].set(number)
