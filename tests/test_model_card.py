"""The shipped model is packed as it was trained, and its card says what its own files say."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import taiyi_ray as ty
from benchmarks import model_card
from taiyi_ray import catalogue, models
from taiyi_ray.config import EMBEDDED_MODEL, InstructConfig
from taiyi_ray.instruct.mixture import mix_of
from taiyi_ray.instruct.plan import BUILD, Build, Part
from taiyi_ray.records import Document, passages
from taiyi_ray.tasks.template import SHORT_FORM
from tests.models.tiny import make_adapter, make_model

ROOT = Path(__file__).resolve().parents[1]
MADE = {"task": "ner", "language": "en"}
MANIFEST = {
    "settings": {"datasets": ["bc5cdr"]},
    "datasets": [
        {"folder": "stage1", "dataset": "bc5cdr", "split": "train", "documents": 490, "used": 438,
         "overlaps": {}, "lost": {}, "instructions": [{**MADE, "made": 876}]},
        {"folder": "stage1", "dataset": "bc5cdr", "split": "dev", "documents": 493, "used": 441,
         "overlaps": {}, "lost": {}, "instructions": [{**MADE, "made": 882}]},
        {"folder": "dev", "dataset": "bc5cdr", "split": "train", "documents": 10, "used": 10,
         "overlaps": {}, "lost": {}, "instructions": [{**MADE, "made": 20}]},
    ],
}  # fmt: skip
RUN: dict[str, Any] = {
    "state": "done",
    "stages": [],
    "steps": 2,
    "totals": {"records": 64, "tokens": 20722, "seconds": 7200},
    "revision": "1234567890abcdef",
    "versions": {"torch": "2.13.0"},
    "settings": {"data": "/somewhere/data", "output": "/somewhere/out", "rank": 4},
    "model": {"name": EMBEDDED_MODEL, "digest": "d" * 64},
    "data": {"address": "/somewhere/data", "manifest": "e" * 64},
    "points": [{"step": 1, "loss": 2.0, "by_task": {"ner": 2.0}}, {"step": 2, "loss": 1.0}],
}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The output of a training and, beside it, its instructions."""
    data, output = tmp_path / "data", tmp_path / "trained"
    data.mkdir()
    settings = InstructConfig(data_root="in", output="out", wordings="short", document_first=1)
    mixes = {"ner": mix_of(catalogue.entry("bc5cdr"), "ner", 500, 500, settings)}
    part = Part(name="stage1/bc5cdr/train", dataset="bc5cdr", split="train", holds="all",
                dev_share=0, mixes=mixes, options={}, units=[])  # fmt: skip
    build = Build(identity={}, inputs={}, unchecked=[], held_out="h", trained="t", parts=[part])
    (data / BUILD).write_text(build.model_dump_json())
    (data / "_manifest.json").write_text(json.dumps(MANIFEST))
    make_adapter(output / "adapter", make_model(tmp_path / "base"))
    (output / "run.json").write_text(json.dumps(RUN))
    return output


def test_what_was_trained_is_packed_with_what_it_came_from(trained: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "packed"
    model_card.pack(trained, tmp_path / "data", folder)
    assert {path.name for path in folder.iterdir()} == {
        *("adapter_config.json", "adapter_model.safetensors", "README.md"),
        *("taiyi_ray.json", "training.json"),
    }
    before = load_file(trained / "adapter" / "adapter_model.safetensors")
    after = load_file(folder / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(each.bfloat16(), after[name]) for name, each in before.items())
    form = models.asking_form(str(folder))
    wanted = {"document_first": True, "tasks": model_card.ASKED}
    assert form == SHORT_FORM.model_copy(update=wanted)
    training = json.loads((folder / "training.json").read_text())
    assert training["points"] == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    assert training["settings"] == {"rank": 4}
    assert "/somewhere" not in (folder / "training.json").read_text()
    assert models.resolve(str(tmp_path / "base"), str(folder)).digest


def test_a_training_that_is_not_done_is_not_packed(trained: Path, tmp_path: Path) -> None:
    (trained / "run.json").write_text(json.dumps({**RUN, "state": "unfinished"}))
    with pytest.raises(SystemExit, match="this training is not done"):
        model_card.pack(trained, tmp_path / "data", tmp_path / "packed")


def test_the_card_tells_the_training_and_every_answer(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    model_card.pack(trained, tmp_path / "data", folder)
    told = model_card.trained(json.loads((folder / "training.json").read_text()))
    assert "2 steps, 64 records, 20,722 tokens, 2 h of computing" in told
    assert "| bc5cdr | 879 | 1,758 |" in told
    asked = [Document(None, passages([("question", m.language, m.text)]))
             for m in model_card.MISUSES]  # fmt: skip
    rows = ty.annotate(asked, engine="fake", tasks=["ner", "qa"], types=["chemical"])
    answers = model_card.answers(rows)
    assert len(answers.splitlines()) == 2 + len(model_card.MISUSES) == 7
    assert all(misuse.text in answers for misuse in model_card.MISUSES)
    assert all(line.count(" | ") == 3 for line in answers.splitlines()[2:])
    card = model_card.filled(
        (folder / "README.md").read_text("utf-8"), {"training": told, "answers": answers}
    )
    assert told in card and answers in card
    assert model_card.filled(card, {"training": told, "answers": answers}) == card


@pytest.mark.slow  # some ten minutes on two cores: instructions, two steps, a real engine
@pytest.mark.timeout(3000)
@pytest.mark.alone
def test_the_shipped_model_is_made_again_by_one_command(shared_data: Path, tmp_path: Path) -> None:
    stamps = (".venv/.installed-cpu", ".venv/.installed-dev")
    done = subprocess.run(
        [
            *("make", "demo-model", "EXTRA=cpu", "LIMIT=12"),
            *(word for stamp in stamps for word in ("-o", stamp)),  # nothing is installed here
            *(f"OUT={tmp_path}", f"DATA={shared_data}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    made = tmp_path / "demo"
    assert json.loads((made / "training.json").read_text())["steps"] == 2
    assert (made / "adapter_model.safetensors").stat().st_size < 40_000_000
    form = models.asking_form(str(made))
    assert form is not None and form.document_first and form.headed
    card = (made / "README.md").read_text("utf-8")
    assert all(misuse.text in card for misuse in model_card.MISUSES)
    assert "fills this" not in card
