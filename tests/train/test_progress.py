"""What a training shows on the console."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from taiyi_ray.train import progress
from taiyi_ray.train.progress import Told, TrainingProgress


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, highlight=False)


def written(of: Console) -> str:
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


def test_without_a_terminal_it_is_a_line_now_and_then_and_when_something_happened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = console(terminal=False)
    with TrainingProgress(place, 2000) as shown:
        shown.say("loading the model ...")
        shown.show(Told(0, "the model is loaded"))
        monkeypatch.setattr(progress, "BEAT", 0)
        shown.show(Told(1000, "stage 1, loss 0.500"))
        monkeypatch.setattr(progress, "BEAT", 30)
        shown.show(Told(1001, "stage 1, loss 0.499"))
        shown.say("step 1002 failed (a reason); trying again ...")
        shown.show(Told(1000, "the model is loaded"))
        shown.show(Told(1001, "stage 1, loss 0.499"))
    assert written(place).splitlines() == [
        "loading the model ...",
        "step 0 of 2,000, the model is loaded",
        "step 1,000 of 2,000, stage 1, loss 0.500",
        "step 1002 failed (a reason); trying again ...",
        "step 1,000 of 2,000, the model is loaded",
    ]


def test_on_a_terminal_it_is_a_bar() -> None:
    place = console(terminal=True)
    with TrainingProgress(place, 20) as shown:
        shown.say("loading the model ...")
        shown.show(Told(7, "stage 1, loss 0.500, 3 min left"))
    text = written(place)
    assert "7/20" in text and "stage 1, loss 0.500, 3 min left" in text
