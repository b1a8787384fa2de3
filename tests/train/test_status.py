"""What `taiyi-ray status` tells of a training: while it works, when it waits, and after its end."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from taiyi_ray.states import SILENT
from taiyi_ray.train.status import TrainingLook, TrainingStatus, table
from tests.train.test_report import POINTS, RECORD


def written(output: Path, state: str, *, ago: float = 0, **more: Any) -> None:
    """Write what a run wrote `ago` seconds ago."""
    output.mkdir(exist_ok=True)
    record = {**RECORD, "state": state, "updated": time.time() - ago, "seconds_left": 90, **more}
    (output / "run.json").write_text(json.dumps(record))


def shown(status: TrainingStatus) -> str:
    console = Console(file=io.StringIO(), width=100, record=True, highlight=False)
    console.print(table(status))
    return console.export_text()


def test_a_run_that_works_tells_step_loss_rate_and_time_left(tmp_path: Path) -> None:
    written(tmp_path, "running", step=1)
    found = TrainingLook(str(tmp_path)).status()
    assert (found.state, found.step, found.steps, found.stage) == ("running", 1, 2, 1)
    assert (found.loss, found.dev_loss, found.losses) == (1.0, 3.0, {"ner": 2.0})
    assert (found.tokens, found.tokens_per_second, found.seconds_left) == (200, 200.0, 90)
    text = shown(found)
    for line in ("1 of 2 steps (50.0%), stage 1", "1.000 (ner 2.000)", "200 tokens/s", "2 min, un"):
        assert line in text


@pytest.mark.parametrize(
    ("state", "ago", "seen"),
    [
        ("running", SILENT / 2, "running"),
        ("running", SILENT * 2, "died"),
        ("unfinished", 0, "unfinished"),
        ("done", SILENT * 2, "complete"),
    ],
)
def test_the_state_is_told_by_the_last_words_and_their_age(
    tmp_path: Path, state: str, ago: float, seen: str
) -> None:
    written(tmp_path, state, ago=ago)
    found = TrainingLook(str(tmp_path)).status()
    assert found.state == seen
    assert (found.seconds_left is not None) == (seen == "running")


def test_what_it_waits_for_and_why_it_ended_are_told(tmp_path: Path) -> None:
    written(tmp_path, "running", waiting="waiting for 8 workers", points=[])
    found = TrainingLook(str(tmp_path)).status()
    assert found.loss is None and "waiting for 8 workers" in shown(found)
    written(tmp_path, "unfinished", reason="step 3 failed 3 times")
    assert "step 3 failed 3 times" in shown(TrainingLook(str(tmp_path)).status())


def test_the_share_of_the_peak_is_told_where_it_is_known(tmp_path: Path) -> None:
    written(tmp_path, "running", points=[POINTS[0] | {"mfu": 0.42}])
    assert "200 tokens/s, MFU 42%" in shown(TrainingLook(str(tmp_path)).status())


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    found = TrainingLook(str(tmp_path / "out")).status()
    assert found.state == "absent" and "nothing is there yet" in shown(found)


def test_the_command_for_jobs_reads_a_training_too_and_needs_no_ray_or_torch(
    tmp_path: Path,
) -> None:
    written(tmp_path, "unfinished", points=POINTS)
    script = (
        "import sys; sys.argv = ['taiyi-ray', 'status', sys.argv[1], '--json']\n"
        "from taiyi_ray.cli import main\n"
        "try: main()\n"
        "finally: print({'ray', 'torch', 'vllm'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["step"] == 2
    assert done.stderr == "set()\n"
