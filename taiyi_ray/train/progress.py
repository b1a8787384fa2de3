"""A training run on the console: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from taiyi_ray.states import BEAT, duration


@dataclass(frozen=True, slots=True)
class Told:
    """What the first worker tells about its progress.

    Attributes:
        step: how many steps of the run are made.
        text: what a person reads: the stage, the loss, the rate, the time left; before the first
            step, what the worker does.
        begun: whether it has the model and makes steps.
    """

    step: int
    text: str
    begun: bool = True


class ReadingProgress:
    """Shows now and then how many files of instructions are tokenised.

    Args:
        console: where it is shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._shown = time.monotonic()

    def show(self, done: int, files: int) -> None:
        """Show how many files are done."""
        now = time.monotonic()
        if now - self._shown >= BEAT and done < files:
            self._shown = now
            left = (now - self._began) / done * (files - done)
            self._console.print(f"{done:,} of {files:,} files, {duration(left)} left")


class TrainingProgress:
    """Shows how far a run is, as a context manager.

    Args:
        console: where it is shown.
        steps: the steps of the run.
    """

    def __init__(self, console: Console, steps: int) -> None:
        self._console = console
        self._steps = steps
        self._shown = -math.inf
        """When the last step was shown, by the monotonic clock."""
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=steps)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Show what the run waits for, or what happened to it; the next step is shown at once."""
        self._shown = -math.inf
        self._bar.update(self._task, description=text)
        if not self._console.is_terminal:
            self._console.print(text)

    def show(self, told: Told) -> None:
        """Show what a worker told."""
        self._bar.update(self._task, completed=told.step, description=told.text)
        now = time.monotonic()
        if not self._console.is_terminal and told.begun and now - self._shown >= BEAT:
            self._shown = now
            self._console.print(f"step {told.step:,} of {self._steps:,}, {told.text}")
