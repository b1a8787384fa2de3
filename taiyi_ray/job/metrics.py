"""The metrics of an engine's actor for Prometheus, through Ray's (exported as `ray_<name>`).

These counts end with the actor. The counts of a whole job are in the footers of its output
(`taiyi-ray status`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sized

from taiyi_ray.corpus.output import Totals
from taiyi_ray.counters import Counters

METRICS = {
    "taiyi_ray_units_total": "units committed",
    "taiyi_ray_documents_total": "documents committed, by status",
    "taiyi_ray_failures_total": "errors of documents, by kind",
    "taiyi_ray_tokens_total": "tokens, by kind: prompt, cached (of the prompt), output",
    "taiyi_ray_documents_in_flight": "documents with questions at the engine",
    "taiyi_ray_document_slots": "documents that the engine works on at once",
    "taiyi_ray_engine_seconds_total": "seconds that engines were ready",
    "taiyi_ray_cost_total": "cost of these seconds at --price",
}
"""Names and meanings; deploy/grafana/job.json shows exactly these."""

_TAGS = {
    "taiyi_ray_documents_total": ("status",),
    "taiyi_ray_failures_total": ("kind",),
    "taiyi_ray_tokens_total": ("kind",),
}

_EVERY = 5.0
"""Seconds between two measurements of the engine."""


class JobMetrics:
    """The metrics of one engine, from when it is ready until its process ends.

    Args:
        in_flight: the documents with questions at the engine; the collection changes meanwhile.
        document_slots: number of documents that the engine works on at once.
        price: of an hour of the engine, in any currency; None counts no cost.
    """

    def __init__(self, in_flight: Sized, document_slots: int, price: float | None) -> None:
        self._counters = Counters(METRICS, _TAGS)
        self._in_flight, self._price = in_flight, price
        self._counters.state("taiyi_ray_document_slots", document_slots)
        threading.Thread(target=self._look, name="metrics", daemon=True).start()

    def count(self, totals: Totals) -> None:
        """Count a committed unit."""
        self._counters.add("taiyi_ray_units_total")
        for status, documents in totals.documents.items():
            self._counters.add("taiyi_ray_documents_total", documents, status=status)
        for kind, failures in totals.failures.items():
            self._counters.add("taiyi_ray_failures_total", failures, kind=kind)
        for kind in ("prompt", "cached", "output"):
            self._counters.add("taiyi_ray_tokens_total", totals.tokens[f"{kind}_tokens"], kind=kind)

    def _look(self) -> None:
        """Measure the engine again and again, in a thread, because the actor's loop may be busy."""
        before = time.monotonic()
        while True:
            self._counters.state("taiyi_ray_documents_in_flight", len(self._in_flight))
            time.sleep(_EVERY)
            now = time.monotonic()
            self._counters.add("taiyi_ray_engine_seconds_total", now - before)
            self._counters.add("taiyi_ray_cost_total", (now - before) / 3600 * (self._price or 0))
            before = now
