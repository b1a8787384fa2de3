"""The curves of a run, on the page and for TensorBoard."""

import re
from typing import Any

from taiyi_ray.train import report

POINT: dict[str, Any] = {
    "step": 1, "stage": 0, "stage_step": 1, "loss": 2.0, "rate": 1e-4, "norm": 0.5, "targets": 10,
    "records": 4, "tokens": 100, "computed": 60, "room": 80, "seconds": 0.5,
    "by_task": {"ner": 2.0}, "by_dataset": {"<b>": 2.0},
}  # fmt: skip
POINTS = [POINT, POINT | {"step": 2, "loss": 1.0, "dev": {"all": {"loss": 3.0}, "by_task": {}}}]
RECORD = {
    "state": "done", "step": 2, "steps": 2, "points": POINTS,
    "totals": {
        "tokens": 200, "tokens_per_second": 200,
        "packing_efficiency": 0.75, "saved_by_sharing": 0.4,
    },
    "stages": [
        {
            "number": 1, "records": 8, "tokens": 9, "epochs": 1, "steps": 2,
            "left_out": {"too long": 3},
        }
    ],
    "settings": {"model": "m", "batch": 4}, "versions": {"torch": "2"},
    "revision": "0123abc", "data": {"address": "data", "manifest": "4567def"},
    "model": {"name": "m", "digest": "89ab"},
}  # fmt: skip


def test_curves_have_the_value_of_each_point() -> None:
    curves = report.scalars(POINTS)
    assert next(iter(curves)) == "loss"
    assert curves["loss"] == [(1, 2.0), (2, 1.0)]
    assert curves["tokens/s"] == [(1, 200.0), (2, 200.0)]
    assert curves["tokens saved by sharing"][0] == (1, 0.4)
    assert curves["dev/loss"] == [(2, 3.0)]


def test_the_page_shows_them_and_takes_no_name_for_markup() -> None:
    page = report.html(RECORD)
    assert "<b>" not in page and "&lt;b&gt;" in page
    assert '<polyline points="0.0,0.0 640.0,90.0"/>' in page
    assert re.search("40.0% of the tokens saved", page) and "3 too long" in page


def test_the_page_says_what_the_run_stands_on_and_why_it_ended() -> None:
    page = report.html(RECORD | {"state": "unfinished", "reason": "no GPU"})
    for told in ("0123abc", "4567def", "89ab", "<td>torch<td>2", "unfinished (no GPU): step 2"):
        assert told in page
    assert "without a manifest" in report.html(RECORD | {"data": {"address": "d"}, "points": []})


def test_tensorboard_reads_the_events() -> None:
    assert b"loss_by_task/ner" in report.tensorboard(POINTS)
    assert report.tensorboard([POINT]) != b""
