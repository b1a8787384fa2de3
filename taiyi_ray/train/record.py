"""How far a run is: OUT/run.json and its report, written again and again.

The first worker writes them while it trains. Before that, and when a run ends early, the process
that started the run does.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from taiyi_ray import storage
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import StorageError
from taiyi_ray.states import beating, duration
from taiyi_ray.train import identity, report
from taiyi_ray.train.checkpoints import Position
from taiyi_ray.train.progress import Told
from taiyi_ray.train.stages import History, Reporter, TrainingPlan
from taiyi_ray.train.status import RECORD, read


def trained_address(output: str, config: TrainConfig) -> str:
    """Return the address of the trained adapter or model of an output."""
    return storage.join(output, "model" if config.method == "full" else "adapter")


def finished(output: str, config: TrainConfig) -> str | None:
    """Return the address of what an earlier run trained, if it came to its end and it is there."""
    there = read(output)
    trained = trained_address(output, config)
    return trained if there and there["state"] == "done" and storage.exists(trained) else None


class _Made(NamedTuple):
    """What is made so far.

    Attributes:
        step: the number of steps.
        points: the curves. Points are added, and never changed.
        unfinished: the point of the steps since the last one.
    """

    step: int
    points: list[dict[str, Any]]
    unfinished: dict[str, Any] | None = None

    @classmethod
    def of(cls, position: Position, history: History) -> Self:
        """What is made at a position."""
        return cls(position.step, list(history.points), history.unfinished)

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The curves up to the last step."""
        return [*self.points, self.unfinished] if self.unfinished else self.points


class TrainingRecord:
    """The record of a run.

    Args:
        plan: the plan of the run.
        tell: is told of each step.
    """

    def __init__(self, plan: TrainingPlan, tell: Callable[[Told], object] = lambda _: None) -> None:
        self._plan, self._tell = plan, tell
        self._path = storage.join(plan.output, RECORD)
        self._started = time.time()
        self._made: _Made | None = None
        """What this process trained; None as long as it did not begin."""
        self._begun = (0, 0.0)
        """At which step this process began to train, and when by the monotonic clock."""
        self._events = 0
        """The step up to which TensorBoard's files hold the curves."""
        self._writing = threading.Lock()
        self._done = False

    def reporter(self) -> Reporter:
        """Return what the first worker tells this record."""
        return Reporter(point=self._point, saved=self._saved, begun=self._begin)

    @contextmanager
    def kept_fresh(self, waiting: str | None = None) -> Iterator[None]:
        """Write the record every BEAT seconds, by which `status` knows that the run works.

        A thread of its own does this, because a step may take longer, and a store is slow.

        Args:
            waiting: what the run waits for until this process begins to train; None when another
                process writes this.
        """

        def write() -> None:
            if self._made is not None:
                self._write("running")
            elif waiting is not None:
                self.waiting(waiting)

        with beating(write):
            yield

    def waiting(self, what: str) -> None:
        """Write that the run works, but waits for something before it can train.

        Nothing is written where a worker that began to train writes meanwhile.
        """
        with suppress(StorageError):  # it is written again
            tag = storage.stat(self._path).tag if storage.exists(self._path) else None
            record = self._record("running", self._made_before()) | {"waiting": what}
            data = json.dumps(record, ensure_ascii=False).encode()
            if tag is None:
                storage.put_if_absent(self._path, data)
            else:
                storage.replace(self._path, data, tag=tag)

    def ended(self, reason: str) -> None:
        """Write that the run ended early, and why."""
        with suppress(StorageError):  # the error that ended the run tells more than this one
            self._write("unfinished", reason=reason)

    # ------------------------------------------------------------------ what the first worker tells

    def _begin(self, position: Position, history: History) -> None:
        identity.put(self._plan.output, dict(self._plan.identity))
        self._begun = (position.step, time.monotonic())
        self._made = _Made.of(position, history)
        with suppress(StorageError):  # the next beat tries again
            self._events = report.events_until(self._tensorboard, position.step)
            self._write("running")
        self._tell(Told(position.step, "the model is loaded"))

    def _point(self, position: Position, history: History) -> None:
        self._made = _Made.of(position, history)
        self._tell(Told(position.step, self._text(position)))

    def _text(self, position: Position) -> str:
        """What a person reads about the progress: stage, loss, rate, time left."""
        assert self._made is not None
        newest = self._made.shown[-1]
        tokens = newest["tokens"] / (newest["seconds"] or 1)
        left = self._seconds_left()
        mfu = newest.get("mfu")
        return (
            f"stage {self._plan.stages[position.stage].number + 1}, "
            f"loss {newest['loss']:.3f}, {tokens:,.0f} tokens/s"
            f"{'' if mfu is None else f', MFU {mfu:.0%}'}"
            f"{'' if left is None else f', {duration(left)} left'}"
        )

    def _seconds_left(self) -> float | None:
        """The seconds that the steps take that are left; None when that is not known."""
        if self._made is None:
            return None
        first, since = self._begun
        made = self._made.step - first
        left = self._plan.steps - self._made.step
        return (time.monotonic() - since) / made * left if made else None

    def _saved(self, folder: Path, history: History) -> None:
        trained = trained_address(self._plan.output, self._plan.config)
        for file in sorted(folder.iterdir()):
            address = storage.join(trained, file.name)
            with file.open("rb") as source, storage.written(address) as target:
                shutil.copyfileobj(source, target)
        self._made = _Made(self._plan.steps, list(history.points))
        self._write("done")

    # ------------------------------------------------------------------------------ what is written

    def _write(self, state: str, **more: str) -> None:
        with self._writing:
            if self._done:  # a beat that waited for the lock
                return
            made = self._made or self._made_before()
            record = self._record(state, made) | more
            page = storage.join(self._plan.output, "report.html")
            storage.replace(page, report.html(record).encode())
            if self._made is not None:  # another process writes its own
                self._events = report.add_events(self._tensorboard, made.points, self._events)
            # This comes last: who reads that the run is done finds all of it.
            storage.replace(self._path, json.dumps(record, ensure_ascii=False).encode())
            self._done = state == "done"

    def _made_before(self) -> _Made:
        there = read(self._plan.output)
        return _Made(there["step"], there["points"]) if there else _Made(0, [])

    @property
    def _tensorboard(self) -> str:
        return storage.join(self._plan.output, "tensorboard")

    def _record(self, state: str, made: _Made) -> dict[str, Any]:
        left = self._seconds_left()
        return {
            "state": state,
            "started": self._started,
            "updated": time.time(),
            "step": made.step,
            "steps": self._plan.steps,
            "seconds_left": None if left is None else round(left),
            "stages": [
                {
                    "number": stage.number + 1,
                    "records": stage.records,
                    "tokens": stage.tokens,
                    "epochs": stage.epochs,
                    "steps": stage.steps,
                    "left_out": stage.left_out,
                }
                for stage in self._plan.stages
            ],
            "totals": _totals(made.shown),
            "settings": self._plan.config.model_dump(mode="json"),
            **self._plan.origin,
            "points": made.shown,
        }


def _totals(points: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """What all steps of a run sum up to, and what that says of its speed."""
    sums = {
        name: sum(point[name] for point in points)
        for name in ("records", "tokens", "computed", "room", "targets", "seconds")
    }
    known = [point for point in points if point.get("mfu") is not None]
    seconds = sum(point["seconds"] for point in known)
    return sums | {
        "mfu": sum(point["mfu"] * point["seconds"] for point in known) / seconds if known else None,
        "tokens_per_second": sums["tokens"] / (sums["seconds"] or 1),
        "packing_efficiency": sums["computed"] / (sums["room"] or 1),
        "saved_by_sharing": 1 - sums["computed"] / (sums["tokens"] or 1),
    }
