"""The dashboard of the service asks for what it counts; what vLLM counts: see test_openai.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

from taiyi_ray.serve.metrics import METRICS

DASHBOARD = Path(__file__).resolve().parents[2] / "deploy/grafana/service.json"


def asked_for() -> set[str]:
    """The metrics that the panels ask for, without Ray's `ray_`; of a histogram its own name."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert all(panel["title"] and panel["description"] for panel in panels)
    names = {name for query in queries for name in re.findall(r"\bray_(\w+)", query)}
    return {name.removesuffix("_bucket") for name in names}


def test_the_dashboard_asks_for_every_metric_and_for_no_other():
    assert {name for name in asked_for() if name.startswith("taiyi_ray")} == set(METRICS)
