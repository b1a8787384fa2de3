"""The service's metrics for Prometheus, through Ray's metrics (exported as `ray_<name>`).

Ray Serve (`ray_serve_*`) and vLLM (`ray_vllm_*`) export their own beside them: queue, tokens, hits
of the prefix cache, time to the first token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taiyi_ray.counters import Counters

METRICS = {
    "taiyi_ray_requests_total": "requests answered, by route and status",
    "taiyi_ray_request_seconds": "seconds from a request to the end of its answer, by route",
    "taiyi_ray_first_byte_seconds": "seconds from a request to the first byte of its answer, by "
    "route: of a stream, the first token",
    "taiyi_ray_served_documents_total": "documents annotated, by status",
    "taiyi_ray_served_failures_total": "errors of documents, by kind",
    "taiyi_ray_served_tokens_total": "tokens of annotations, by kind: prompt, cached (of the "
    "prompt), output",
    "taiyi_ray_slots_taken": "slots that documents and chats at work have taken",
    "taiyi_ray_slots": "slots of the engine",
}
"""Names and meanings; deploy/grafana/service.json shows all of them."""

_TAGS = {
    "taiyi_ray_requests_total": ("route", "status"),
    "taiyi_ray_request_seconds": ("route",),
    "taiyi_ray_first_byte_seconds": ("route",),
    "taiyi_ray_served_documents_total": ("status",),
    "taiyi_ray_served_failures_total": ("kind",),
    "taiyi_ray_served_tokens_total": ("kind",),
}

_BOUNDARIES = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0]


class ServiceMetrics:
    """The metrics of one replica."""

    def __init__(self) -> None:
        self._counters = Counters(METRICS, _TAGS, _BOUNDARIES)

    def request(self, route: str, status: int, first_byte: float | None, seconds: float) -> None:
        """Count a request that is over.

        Args:
            route: path of the route, with its parameters' names.
            status: of HTTP.
            first_byte: seconds from the request to the first byte of the answer; None without one.
            seconds: from the request to the end of the answer.
        """
        self._counters.add("taiyi_ray_requests_total", route=route, status=str(status))
        self._counters.observe("taiyi_ray_request_seconds", seconds, route=route)
        if first_byte is not None:
            self._counters.observe("taiyi_ray_first_byte_seconds", first_byte, route=route)

    def row(self, row: Mapping[str, Any]) -> None:
        """Count an annotated document."""
        self._counters.add("taiyi_ray_served_documents_total", status=row["status"])
        for error in row["errors"]:
            self._counters.add("taiyi_ray_served_failures_total", kind=error["kind"])
        for kind in ("prompt", "cached", "output"):
            tokens = sum(answer[f"{kind}_tokens"] for answer in row["answers"])
            self._counters.add("taiyi_ray_served_tokens_total", tokens, kind=kind)

    def slots(self, taken: int, slots: int) -> None:
        """State how many slots are taken, and how many there are."""
        self._counters.state("taiyi_ray_slots_taken", taken)
        self._counters.state("taiyi_ray_slots", slots)
