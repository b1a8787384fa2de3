"""The curves of a run, on the page and for TensorBoard."""

import re
import struct
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event

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
    assert '<polyline class="s0" points="0.0,0.0 640.0,90.0 "/>' in page
    assert re.search("40.0% of the tokens saved", page) and "3 too long" in page


def test_the_page_says_what_the_run_stands_on_and_why_it_ended() -> None:
    page = report.html(RECORD | {"state": "unfinished", "reason": "no GPU"})
    for told in ("0123abc", "4567def", "89ab", "<td>torch<td>2", "unfinished (no GPU): step 2"):
        assert told in page
    assert "without a manifest" in report.html(RECORD | {"data": {"address": "d"}, "points": []})


def test_each_stage_has_a_line_of_its_own_and_a_border() -> None:
    third = POINT | {"step": 3, "stage": 1}
    stages = [*RECORD["stages"], RECORD["stages"][0] | {"number": 2}]
    page = report.html(RECORD | {"points": [*POINTS, third], "stages": stages})
    assert '<polyline class="s0" points="0.0,0.0 320.0,90.0 "/>' in page
    assert '<path d="M640.0 0v180"/><text x="644.0" y="175">stage 2</text>' in page
    assert "stage 2</text>" not in report.html(RECORD)


def scalars_of(file: Path) -> list[tuple[int, str, float]]:
    """Step, name and value of the events of a file: records of a length, data, and two checksums.

    See `tensorflow/core/lib/io/record_writer.h`.
    """
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        found += [(event.step, one.tag, one.simple_value) for one in event.summary.value]
        at += length + 16
    return found


def test_what_tensorboard_has_read_does_not_change_and_new_points_are_a_new_file(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "tensorboard"
    until = report.add_events(str(folder), POINTS[:1], report.events_until(str(folder), 0))
    (first,) = folder.iterdir()
    before = first.read_bytes()
    assert (1, "loss", 2.0) in scalars_of(first)
    assert (1, "loss_by_task/ner", 2.0) in scalars_of(first)
    assert report.add_events(str(folder), POINTS, until) == 2
    assert first.read_bytes() == before
    one, other = sorted(folder.iterdir())
    assert one == first, "TensorBoard reads the files in the order of their names"
    assert {step for step, *_ in scalars_of(other)} == {2}
    assert (2, "loss", 1.0) in scalars_of(other)
    assert report.add_events(str(folder), POINTS, 2) == 2
    assert len(list(folder.iterdir())) == 2, "nothing was new"


def test_events_of_steps_that_will_be_made_again_go(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    assert report.events_until(str(folder), 5) == 0
    report.add_events(str(folder), POINTS[:1], 0)
    report.add_events(str(folder), POINTS, 1)
    (folder / "events.out.tfevents.taiyi_ray").write_bytes(b"of an earlier revision")
    assert report.events_until(str(folder), 1) == 1
    assert [file.name for file in folder.iterdir()] == ["events.out.tfevents.000000001.taiyi_ray"]
