"""What `taiyi-ray status` tells of a build of instructions, before, in and after it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from taiyi_ray.cli import main
from taiyi_ray.corpus.units import Unit, Units
from taiyi_ray.errors import ConfigError
from taiyi_ray.instruct.manifest import MANIFEST
from taiyi_ray.instruct.plan import BUILD, Build, Part
from taiyi_ray.instruct.status import BuildLook
from taiyi_ray.instruct.workers import ENDING


def planned(output: Path) -> list[Unit]:
    """Plan a build of two units; return them."""
    part = Part(
        name="stage1/bc5cdr/train", dataset="bc5cdr", split="train", holds="all", dev_share=0,
        mixes={}, options={}, units=[(0, 499), (500, 799)],
    )  # fmt: skip
    build = Build(identity={}, inputs={}, unchecked=[], held_out="h", trained="t", parts=[part])
    output.mkdir(exist_ok=True)
    (output / BUILD).write_text(build.model_dump_json())
    return part.all_units()


def shown(output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["taiyi-ray", "status", str(output)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_status_counts_the_documents_and_units_of_a_build_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert BuildLook(str(output)).status().state == "absent"
    units = planned(output)
    assert "planned; nothing is done yet" in shown(output, monkeypatch, capsys)
    made = Units(str(output), ENDING)
    made.commit(units[0], b"rows")
    found = BuildLook(str(output)).status()
    assert (found.state, found.units_done, found.units) == ("unfinished", 1, 2)
    assert (found.left, found.documents) == (300, 800)
    told = shown(output, monkeypatch, capsys)
    assert "not complete: it works, or it ended and the same command goes on" in told
    assert "500 of 800 documents (62.5%), 1 of 2 units" in told
    made.commit(units[1], b"rows")
    assert BuildLook(str(output)).status().state == "unfinished", "the manifest comes last"
    (output / MANIFEST).write_text("{}")
    told = shown(output, monkeypatch, capsys)
    assert "complete" in told and "800 of 800 documents (100.0%), 2 of 2 units" in told
    assert "report.html" in told


def test_a_plan_that_is_none_of_this_program_is_one_line(tmp_path: Path) -> None:
    (tmp_path / BUILD).write_text("{}")
    with pytest.raises(ConfigError, match=rf"{BUILD}: not of this program"):
        BuildLook(str(tmp_path)).status()


def test_the_progress_of_a_build_is_read_without_ray_and_torch(tmp_path: Path) -> None:
    planned(tmp_path)
    script = (
        "import sys; sys.argv = ['taiyi-ray', 'status', sys.argv[1], '--json']\n"
        "from taiyi_ray.cli import main\n"
        "try: main()\n"
        "finally: print({'ray', 'torch', 'vllm', 'duckdb'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["units"] == 2
    assert done.stderr == "set()\n"
