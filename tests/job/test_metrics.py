"""The metrics: what Prometheus gets from a job at work; the dashboard asks for just that."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from taiyi_ray.job.metrics import METRICS
from tests.conftest import Head
from tests.job.jobs import corpus

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy/grafana/job.json"

_Sample = dict[tuple[str, str], float]


def scraped(head: Head) -> _Sample:
    """Our samples, by name and the label that matters; those of all processes added up."""
    with urllib.request.urlopen(f"{head.metrics}/metrics") as answer:
        text = answer.read().decode()
    found: _Sample = {}
    for name, labels, number in re.findall(
        r"^ray_(taiyi_ray_\w+)\{(.*)\} ([\d.e+-]+)$", text, re.MULTILINE
    ):
        label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        key = (name, label.get("status") or label.get("kind") or "")
        found[key] = found.get(key, 0) + float(number)
    return found


@pytest.mark.slow
def test_prometheus_sees_a_job_at_work(head, tmp_path):
    source = corpus(tmp_path / "docs.jsonl", 400)
    arguments = [
        "ray", "job", "submit", "--runtime-env", "jobs/runtime_env.yaml", "--",
        "python", "jobs/annotate.py", str(source), "--output", str(tmp_path / "out"),
        "--engine", "fake", "--ask", "together", "--price", "3600", "--max-failed", "1",
        "--engine-arg", "latency=2", "--engine-arg", "refuse=0.3",
    ]  # fmt: skip
    before = scraped(head)
    with subprocess.Popen(
        arguments, cwd=ROOT, env=head.environment, stdout=subprocess.PIPE, text=True
    ) as job:
        seen: _Sample = {}
        until = time.monotonic() + 180
        while time.monotonic() < until:
            for key, number in scraped(head).items():
                seen[key] = max(seen.get(key, 0), number - before.get(key, 0))
            ended = job.poll() is not None  # the actor's last reports may be on their way still
            done = sum(n for (name, _), n in seen.items() if name == "taiyi_ray_documents_total")
            if ended and (done >= 400 or job.returncode):
                break
            time.sleep(0.5)
        output, _ = job.communicate(timeout=180)
    assert job.returncode == 0, output
    assert {name for name, _ in seen} >= set(METRICS), output
    run = json.loads((tmp_path / "out/run.json").read_text())
    totals = run["totals"]
    for status, number in totals["documents"].items():
        assert seen["taiyi_ray_documents_total", status] == number
    assert seen["taiyi_ray_failures_total", "engine_error"] == totals["failures"]["engine_error"]
    assert seen["taiyi_ray_tokens_total", "prompt"] == totals["tokens"]["prompt_tokens"]
    assert seen["taiyi_ray_tokens_total", "output"] == totals["tokens"]["output_tokens"]
    assert 0 < seen["taiyi_ray_documents_in_flight", ""] <= 64
    assert seen["taiyi_ray_document_slots", ""] == 64
    # The price is one a second.
    seconds = seen["taiyi_ray_engine_seconds_total", ""]
    assert seconds > 4
    assert seen["taiyi_ray_cost_total", ""] == pytest.approx(seconds, rel=0.01)


def test_the_dashboard_asks_for_every_metric_and_for_no_other():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"\bray_(taiyi_ray_\w+)", query)}
    assert asked == set(METRICS)
    assert all(panel["title"] and panel["description"] for panel in panels)
    kinds = {kind for query in queries for kind in re.findall(r'kind="(\w+)"', query)}
    assert kinds == {"cached", "prompt"}
