"""Outputs of an older revision: they are resumed, exported and reported as it would have."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from taiyi_ray.config import DEFAULT_MODEL, SHIPPED_MODELS, AnnotateConfig
from taiyi_ray.job import run
from taiyi_ray.job.export import export
from taiyi_ray.job.status import Progress
from tests.job.jobs import annotate, table, unit_files

OLDER = Path(__file__).with_name("older")
SETTINGS = {
    "limited": ["--ask", "together"],
    "failed": [
        *("--types", "disease,chemical", "--scores", "--engine-arg", "refuse=0.3"),
        *("--engine-arg", "garbage=0.2", "--engine-arg", "cut=0.2", "--ask", "apart"),
    ],
}


def unpacked(folder: Path) -> Path:
    """A copy of the older outputs and their input that is at home in this folder."""
    here = folder / "here"
    shutil.copytree(OLDER, here)
    for path in here.rglob("*.json"):
        path.write_text(path.read_text("utf-8").replace("@HERE@", str(here)), "utf-8")
    return here


def exported(folder: Path) -> dict[str, bytes]:
    """What was exported of each source; its name without the digits that stand for its address."""
    files = {path.stem.rpartition("-")[0]: path.read_bytes() for path in folder.iterdir()}
    assert len(files) == 5
    return files


@pytest.mark.parametrize("name", SETTINGS)
def test_an_output_of_an_older_revision_is_resumed_exported_and_reported(joined, tmp_path, name):
    here = unpacked(tmp_path)
    output = here / name
    job = (output / "job.json").read_bytes()
    kept = {path: path.read_bytes() for path in unit_files(output)}
    assert kept and Progress(str(output)).status().units_done == len(kept)
    annotate(
        *(here / "inputs", "-o", output, "--engine", "fake", "--max-failed", "1"), *SETTINGS[name]
    )
    assert (output / "job.json").read_bytes() == job
    assert {path: path.read_bytes() for path in kept} == kept
    rows = table(output)
    assert len(rows) == 10
    assert {row["fingerprint"] for row in rows} == {json.loads(job)["fingerprint"]}
    status = Progress(str(output)).status()
    assert (status.state, status.left, sum(status.documents.values())) == ("complete", 0, 10)
    assert status.documents["failed"] == {"limited": 2, "failed": 4}[name]
    assert json.loads((output / "run.json").read_text())["records"] == 10
    assert "二甲双胍" in (output / "report.html").read_text("utf-8")
    export(str(output), "jsonl", str(tmp_path / "exported"))
    assert exported(tmp_path / "exported") == exported(OLDER / "exported" / name)


ANOTHER = next(name for name in SHIPPED_MODELS if name != DEFAULT_MODEL)
"""A shipped model that is not the default: what the default may have been."""


@pytest.mark.parametrize(
    ("named", "model", "said"),
    [
        ({}, ANOTHER, f"was begun with the model {ANOTHER} and goes on with it; the default is "),
        ({"model": DEFAULT_MODEL}, DEFAULT_MODEL, None),
        ({"model": ANOTHER}, ANOTHER, None),
    ],
)
def test_an_output_goes_on_with_the_shipped_model_that_it_was_begun_with(
    tmp_path, capsys, named, model, said
):
    here = unpacked(tmp_path)
    job = here / "limited" / "job.json"
    begun = json.loads(job.read_text("utf-8"))
    begun["config"]["model"] = ANOTHER
    job.write_text(json.dumps(begun), "utf-8")
    config = AnnotateConfig(
        inputs=[str(here / "inputs")], output=str(here / "limited"),
        engine="fake", ask="together", **named,
    )  # fmt: skip
    assert run(config, dry_run=True) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["model"] == model
    assert (said in err) if said else ("note: this output" not in err)


def test_an_output_of_a_model_of_its_own_is_left_to_the_settings(tmp_path, capsys):
    here = unpacked(tmp_path)
    job = here / "limited" / "job.json"
    begun = json.loads(job.read_text("utf-8"))
    begun["config"]["model"] = "path/to/model"
    job.write_text(json.dumps(begun), "utf-8")
    config = AnnotateConfig(
        inputs=[str(here / "inputs")], output=str(here / "limited"), engine="fake", ask="together"
    )
    assert run(config, dry_run=True) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["model"] == DEFAULT_MODEL
    assert "note: this output" not in err
