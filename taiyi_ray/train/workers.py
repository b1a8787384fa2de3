"""The stages on the workers of Ray Train: one a GPU, or some on CPUs.

Ray places the workers, connects them and starts them again when one dies. It gets no checkpoint:
each time all workers start from the newest marker of the output.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import uuid
from collections.abc import Callable
from typing import Any

from taiyi_ray import cluster, models
from taiyi_ray.errors import TaiyiError, Unfinished, first_line
from taiyi_ray.placement import Resources
from taiyi_ray.train.stages import TrainingPlan, train
from taiyi_ray.train.training import TrainingRecord

_FAILURES = 3
"""How often the workers are started again after one of them failed."""


def on_workers(plan: TrainingPlan) -> None:
    """Make all steps that are left on the workers of a Ray cluster.

    Raises:
        ConfigError: no cluster answers.
        ModelError: the model cannot be trained so, or its loss is no number.
        Unfinished: the workers failed again and again, or the cluster is gone.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")  # read when ray.train is imported
    kind = plan.config.gpu
    wanted = cluster.Workers(
        Resources(1, 1 if kind else 0, kind), plan.config.workers, "a worker of training"
    )
    with cluster.connected(wanted):
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpus = kind is not None or _has_gpus()
        with tempfile.TemporaryDirectory() as storage_path:
            trainer = TorchTrainer(
                _work,
                train_loop_config={"plan": plan},
                scaling_config=ScalingConfig(
                    num_workers=plan.config.workers,
                    use_gpu=gpus,
                    accelerator_type=kind,
                ),
                torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
                run_config=RunConfig(
                    name=f"taiyi-ray-{uuid.uuid4().hex[:12]}",
                    storage_path=storage_path,
                    failure_config=FailureConfig(max_failures=_FAILURES),
                ),
            )
            _finished(trainer.fit)


def _finished(fit: Callable[[], object]) -> None:
    """Call `fit`, and turn what Ray raises into what a person can act on."""
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
        raise Unfinished(
            f"the cluster is gone ({first_line(error)}); the same command goes on from the last "
            "checkpoint"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _work(told: dict[str, Any]) -> None:
    """What each worker does."""
    from ray.train.torch import get_device

    plan: TrainingPlan = told["plan"]
    config = plan.config
    model = models.resolve(config.model, digest=plan.model)
    adapter = models.find_adapter(config.adapter).path if config.adapter else None
    reporter = TrainingRecord(plan).reporter()
    reporter.notice = _notice
    train(plan, model.path, adapter, get_device(), reporter)


def _notice() -> bool:
    """Whether a node of the workers will be taken away soon."""
    from ray.train import get_preemption_info

    return get_preemption_info() is not None


def _ours(error: BaseException) -> TaiyiError:
    """What a person can do about a failure of the workers."""
    seen: list[BaseException] = [error]
    for each in seen:  # a worker's own error is inside those of Ray
        inner = [each.__cause__, getattr(each, "cause", None)]
        inner += list(getattr(each, "worker_failures", {}).values())
        seen += [one for one in inner if isinstance(one, BaseException) and one not in seen]
        if isinstance(each, TaiyiError) and not isinstance(each, Unfinished):
            return each
    return Unfinished(
        f"the workers failed {_FAILURES + 1} times ({first_line(seen[-1])}); the same command goes "
        "on from the last checkpoint"
    )


def _has_gpus() -> bool:
    import ray

    return bool(ray.cluster_resources().get("GPU", 0))
