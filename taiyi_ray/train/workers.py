"""The stages on the workers of Ray Train: one a GPU, or some on CPUs.

Ray Train connects the workers, and grows or shrinks their number. It gets no checkpoint: each time
all workers start from the newest marker of the output. What ends them comes back here, and here
they are started again, until the same step failed three times.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from taiyi_ray import cluster, models
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import (
    ModelError,
    Signal,
    TaiyiError,
    Unfinished,
    first_line,
)
from taiyi_ray.interrupts import Watchdog, terminable
from taiyi_ray.placement import Resources, takes_gpus
from taiyi_ray.states import BEAT
from taiyi_ray.train.progress import Told, TrainingProgress
from taiyi_ray.train.record import TrainingRecord
from taiyi_ray.train.stages import TrainingPlan, train

_FAILURES = 3
"""How often the same step may fail before the run ends."""

_LOOK = 1.0
"""Seconds between two looks at what the workers told."""

_PATIENCE = 10.0
"""Seconds after which a person is told what the run waits for."""


class _Failed(Signal):
    """The workers failed before all steps were made; they may be started again."""


class _Displaced(Signal):
    """The workers lost their places, or did not get them: nothing failed."""


def on_workers(plan: TrainingPlan, record: TrainingRecord, progress: TrainingProgress) -> None:
    """Make all steps that are left on the workers of a Ray cluster.

    Args:
        plan: what is trained.
        record: is written as long as no worker writes it.
        progress: shows what the workers tell.

    Raises:
        ConfigError: no cluster answers, or this machine is too small for a worker.
        ModelError: the model cannot be trained so, its loss is no number, or the same step failed
            three times.
        Unfinished: the cluster is gone, workers could not be started, or no step was made for too
            long.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")  # read when ray.train is imported
    wanted = workers_of(plan.config)
    dog = Watchdog(plan.config.stall_minutes)
    progress.say("starting Ray ...")
    with cluster.connected(wanted), terminable():
        dog.feed()
        try:
            _tried(_Group(plan, wanted, record, progress, dog), progress)
        except KeyboardInterrupt:
            if not dog.barked:
                raise
            raise Unfinished(
                f"no step was made for {plan.config.stall_minutes:g} minutes; "
                f"{cluster.situation(wanted)}"
            ) from None
        finally:
            dog.stop()


def _tried(group: _Group, progress: TrainingProgress) -> None:
    """Start the workers again and again, until all is done or the same step failed too often."""
    failures: Counter[int | None] = Counter()
    while True:
        try:
            group.train()
        except _Displaced as error:
            progress.say(f"{error}; the workers start again from the newest checkpoint ...")
        except _Failed as error:
            step = group.failing
            failures[step] += 1
            if failures[step] == _FAILURES:
                raise _given_up(step, str(error)) from error
            if step is not None:
                del failures[None]  # they can be started
            progress.say(f"{_at(step)} failed ({error}); trying again ...")
        else:
            return


def workers_of(config: TrainConfig) -> cluster.Workers:
    """Return the processes that a run wants, and what each takes."""
    each = Resources(1, int(takes_gpus(config)), config.gpu)
    return cluster.Workers(each, config.worker_range[1], "a worker of training")


class _Board:
    """What the first worker told last: an actor beside the process that started the run."""

    def __init__(self) -> None:
        self._newest: Told | None = None

    def tell(self, told: Told) -> None:
        """Take what a worker tells."""
        self._newest = told

    def newest(self) -> Told | None:
        """Return what was told last; None as long as no worker was started."""
        return self._newest


class _Group:
    """Starts all workers of a run, and follows what they tell.

    Args:
        plan: what is trained.
        wanted: the workers.
        record: is written as long as no worker writes it.
        progress: shows what the workers tell.
        dog: is fed when a step was made that no workers made before.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        wanted: cluster.Workers,
        record: TrainingRecord,
        progress: TrainingProgress,
        dog: Watchdog,
    ) -> None:
        self._plan, self._wanted = plan, wanted
        self._record, self._progress, self._dog = record, progress, dog
        self._told: Told | None = None
        self._highest = -1

    @property
    def failing(self) -> int | None:
        """The step that was being made when the workers ended; None before any step."""
        return self._told.step + 1 if self._told and self._told.begun else None

    def train(self) -> None:
        """Start the workers, and wait until they have made all steps.

        Raises:
            _Failed, _Displaced: they ended before, and may be started again.
            TaiyiError, KeyboardInterrupt: as for `on_workers`.
        """
        with self._followed() as board, tempfile.TemporaryDirectory() as storage_path:
            self._wait_for_places()
            self._told = Told(0, "starting the workers ...", begun=False)
            self._progress.say(self._told.text)
            _finished(lambda: _trainer(self._plan, self._wanted, board, storage_path).fit())

    def _wait_for_places(self) -> None:
        """Wait until the fewest workers have their places.

        Ray Train waits too, but it can neither be interrupted then nor does it keep its demand,
        which is what makes a cluster grow.
        """
        from ray.util.placement_group import placement_group, remove_placement_group

        fewest = self._plan.config.worker_range[0]
        places = placement_group([_bundle(self._wanted.each)] * fewest)
        try:
            while not places.wait(_LOOK):
                pass
        finally:
            remove_placement_group(places)

    @contextmanager
    def _followed(self) -> Iterator[Any]:
        """Yield a board for the workers, at which a thread looks again and again."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ray.remote(num_cpus=0)(_Board)
        board = actor.options(scheduling_strategy=here).remote()
        self._told = None
        over = threading.Event()
        thread = threading.Thread(target=self._follow, args=(board, over), daemon=True)
        thread.start()
        try:
            yield board
        finally:
            over.set()
            thread.join()
            self._look(board)

    def _follow(self, board: Any, over: threading.Event) -> None:
        began, next_beat, patient = time.monotonic(), 0.0, True
        while not over.wait(_LOOK):
            self._look(board)
            if self._told is not None and self._told.begun:
                continue  # the first worker writes the record now
            now = time.monotonic()
            if self._told is None and patient and now - began > _PATIENCE:
                patient = False
                self._progress.say(self._waiting())
            if now > next_beat:
                next_beat = now + BEAT
                self._record.waiting(self._waiting())

    def _waiting(self) -> str:
        if self._told is not None:
            return self._told.text
        config = self._plan.config
        return (
            f"waiting for {config.worker_range[0]} workers: {cluster.situation(self._wanted)}; an "
            f"autoscaling cluster may start more nodes, and after {config.stall_minutes:g} minutes "
            "without a step the run ends"
        )

    def _look(self, board: Any) -> None:
        import ray
        from ray.exceptions import RayError

        try:
            told: Told | None = ray.get(board.newest.remote(), timeout=10 * _LOOK)
        except RayError:  # whoever waits for the workers learns it, too
            return
        if told is None or told == self._told:
            return
        self._told = told
        if not told.begun:
            self._progress.say(told.text)
            return
        self._progress.show(told)
        if told.step > self._highest:
            self._highest = told.step
            self._dog.feed()


def _bundle(each: Resources) -> dict[str, float]:
    """The resources of one worker by Ray's names."""
    bundle: dict[str, float] = {"CPU": each.cpus}
    if each.gpus:
        bundle["GPU"] = each.gpus
    if each.accelerator:
        bundle[f"accelerator_type:{each.accelerator}"] = 0.001  # so Ray asks for a kind of GPU
    return bundle


def _trainer(plan: TrainingPlan, wanted: cluster.Workers, board: Any, storage_path: str) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    gpus = bool(wanted.each.gpus)
    least, most = plan.config.worker_range
    # Their types are those of an older interface: they know neither a range nor all limits.
    number: Any = most if least == most else (least, most)
    failures: Any = FailureConfig
    return TorchTrainer(
        _work,
        train_loop_config={"plan": plan, "board": board},
        scaling_config=ScalingConfig(
            num_workers=number, use_gpu=gpus, resources_per_worker=_bundle(wanted.each)
        ),
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
        run_config=RunConfig(
            name=f"taiyi-ray-{uuid.uuid4().hex[:12]}",
            storage_path=storage_path,
            failure_config=failures(
                max_failures=0, controller_failure_limit=0, max_preemption_failures=0
            ),
        ),
    )


def _finished(fit: Callable[[], object]) -> None:
    """Call `fit`, and turn what Ray raises into what a person or this module can act on."""
    from ray.exceptions import RayError
    from ray.train import TrainingFailedError

    before = signal.getsignal(signal.SIGINT)  # Ray sets a handler, and leaves it there
    try:
        fit()
    except TrainingFailedError as error:
        raise _ours(error) from error
    except SystemExit as error:  # so Ray ends an interrupted run, with the exit code of success
        raise KeyboardInterrupt from error
    except RayError as error:
        if cluster.answers():  # only what led the workers is gone
            raise _Failed(first_line(error)) from error
        raise Unfinished(
            f"the cluster is gone ({first_line(error)}); the same command goes on from the last "
            "checkpoint"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _work(told: dict[str, Any]) -> None:
    """What each worker does."""
    import ray
    from ray.train import get_context
    from ray.train.torch import get_device

    plan: TrainingPlan = told["plan"]
    board = told["board"]
    config = plan.config
    group = get_context()
    if group.get_world_rank() == 0:
        size = group.get_world_size()
        text = f"loading {config.model} on {size} worker{'s' * (size > 1)} ..."
        board.tell.remote(Told(0, text, begun=False))
    model = models.resolve(config.model, digest=plan.model)
    adapter = models.find_adapter(config.adapter).path if config.adapter else None
    record = TrainingRecord(plan, board.tell.remote)
    reporter = record.reporter()
    reporter.notice = _notice
    with record.kept_fresh():
        train(plan, model.path, adapter, get_device(), reporter)
    ray.get(board.newest.remote())  # calls arrive in order: all that was told is there now


def _notice() -> bool:
    """Whether a node of the workers will be taken away soon."""
    from ray.train import get_preemption_info

    return get_preemption_info() is not None


_INSIDE = ("__cause__", "cause", "controller_failure", "health_check_failure")
"""Attributes in which errors of Ray hold others."""


def _ours(error: BaseException) -> Exception:
    """What ended the workers: an error that a person can act on, or one to try again."""
    from ray.train import PreemptionError, TrainingFailedError

    seen: list[BaseException] = [error]
    for each in seen:  # a worker's own error is inside those of Ray
        inner = [getattr(each, name, None) for name in _INSIDE]
        inner += list(getattr(each, "worker_failures", {}).values())
        seen += [one for one in inner if isinstance(one, BaseException) and one not in seen]
        if isinstance(each, TaiyiError):
            return each
    if any(type(each).__name__ == "WorkerGroupStartupTimeoutError" for each in seen):
        return _Displaced("others took the places of the workers")
    if any(isinstance(each, PreemptionError) or getattr(each, "preempted", False) for each in seen):
        return _Displaced("a machine was taken away")
    innermost = [each for each in seen if not isinstance(each, TrainingFailedError)]
    return _Failed("; ".join(dict.fromkeys(map(first_line, innermost or seen))))


def _at(step: int | None) -> str:
    return "the start of the workers" if step is None else f"step {step}"


def _given_up(step: int | None, reason: str) -> TaiyiError:
    if step is None:
        return Unfinished(
            f"the workers could not be started {_FAILURES} times ({reason}); the same command "
            "tries it again"
        )
    return ModelError(
        f"{_at(step)} failed {_FAILURES} times ({reason}); when the reason is gone, the same "
        "command goes on from the last checkpoint"
    )
