"""The progress of a training run, by what it wrote about itself; without Ray and torch.

It can be asked for while the run works, anywhere, and after it died.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from taiyi_ray import storage
from taiyi_ray.states import MEANING, SILENT, State, time_left

RECORD = "run.json"
"""Where a run writes how far it is (`train.record`)."""


def read(output: str) -> dict[str, Any] | None:
    """Return the record of an output; None where no training has written one."""
    data = storage.read(storage.join(output, RECORD))
    record = None if data is None else json.loads(data)
    return record if record and "points" in record else None


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """The progress of a training run.

    Attributes:
        output: its address.
        state: one of `states.MEANING`.
        step: how many steps are made.
        steps: how many there are.
        stage: the number of the stage that is trained, from 1.
        loss: the newest mean loss of a target.
        dev_loss: the newest one on the data for development.
        losses: the newest loss by task.
        tokens: how many tokens were trained.
        tokens_per_second: the newest rate of a run that works.
        mfu: the share of the device's peak rate that this is, where the peak is known.
        seconds_left: at that rate; None when no run works or the rate is not known yet.
        written: when the run last wrote its state (ISO 8601).
        waiting: what it waits for; None when it trains.
        reason: why it ended early.
    """

    output: str
    state: State
    step: int = 0
    steps: int = 0
    stage: int | None = None
    loss: float | None = None
    dev_loss: float | None = None
    losses: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    tokens_per_second: float | None = None
    mfu: float | None = None
    seconds_left: float | None = None
    written: str | None = None
    waiting: str | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class TrainingLook:
    """Looks at the progress of one training run.

    Args:
        output: the output, as a user wrote it.
    """

    def __init__(self, output: str) -> None:
        self._output = storage.absolute(output)

    def status(self) -> TrainingStatus:
        """Return the present progress.

        Raises:
            StorageError: the output cannot be read.
        """
        record = read(self._output)
        if record is None:
            return TrainingStatus(self._output, "absent")
        state = _state(record)
        points: list[dict[str, Any]] = record["points"]
        newest = points[-1] if points else {}
        looks = [point["dev"]["all"]["loss"] for point in points if "dev" in point]
        stage = record["stages"][newest["stage"]]["number"] if newest else None
        works = state == "running" and "waiting" not in record
        return TrainingStatus(
            output=self._output,
            state=state,
            step=record["step"],
            steps=record["steps"],
            stage=stage,
            loss=newest.get("loss"),
            dev_loss=looks[-1] if looks else None,
            losses=newest.get("by_task", {}),
            tokens=record["totals"]["tokens"],
            tokens_per_second=_rate(newest) if works else None,
            mfu=newest.get("mfu") if works else None,
            seconds_left=record.get("seconds_left") if works else None,
            written=datetime.fromtimestamp(record["updated"], UTC).isoformat(timespec="seconds"),
            waiting=record.get("waiting") if state == "running" else None,
            reason=record.get("reason"),
        )


def _state(record: dict[str, Any]) -> State:
    if record["state"] == "done":
        return "complete"
    if record["state"] != "running":
        return "unfinished"
    return "running" if time.time() - record["updated"] <= SILENT else "died"


def _rate(point: dict[str, Any]) -> float | None:
    return round(point["tokens"] / point["seconds"], 1) if point.get("seconds") else None


def table(status: TrainingStatus) -> Table:
    """Return a status as a table of two columns."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("output", status.output)
    table.add_row("state", _told(status))
    if status.state == "absent":
        return table
    if status.waiting:
        table.add_row("waiting", status.waiting)
    if status.reason:
        table.add_row("reason", status.reason)
    share = status.step / (status.steps or 1)
    stage = "" if status.stage is None else f", stage {status.stage}"
    table.add_row("done", f"{status.step:,} of {status.steps:,} steps ({share:.1%}){stage}")
    table.add_row("tokens", f"{status.tokens:,}")
    if status.loss is not None:
        by_task = ", ".join(f"{name} {loss:.3f}" for name, loss in status.losses.items())
        table.add_row("loss", f"{status.loss:.3f} ({by_task})")
    if status.dev_loss is not None:
        table.add_row("loss on dev", f"{status.dev_loss:.3f}")
    if status.tokens_per_second:
        mfu = "" if status.mfu is None else f", MFU {status.mfu:.0%}"
        table.add_row("rate", f"{status.tokens_per_second:,.0f} tokens/s{mfu}")
    if status.seconds_left is not None:
        table.add_row("time left", time_left(status.seconds_left))
    return table


def _told(status: TrainingStatus) -> str:
    told = MEANING[status.state]
    if status.state == "complete" or status.written is None:
        return told
    return f"{told} (it last wrote its state at {status.written})"
