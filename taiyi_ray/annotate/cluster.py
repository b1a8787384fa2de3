"""Ray: joining or starting a cluster, scanning sources and executing pending units on it.

Ray is imported inside the functions: what `connected` sets must be there before.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import psutil

from taiyi_ray.annotate.plan import Scanned, record_sizes
from taiyi_ray.annotate.workers import AnnotateUnits, read_unit
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.errors import ConfigError

UNITS_OPEN = 2
"""Units that an engine works on at once, at least: the next one fills the tail of the first."""

_MOST_OPEN = 16
_DOCUMENTS_OPEN = 128
"""Small units: so many more are open that an engine has about this many documents."""

_RETRIES = 3
"""A unit is tried so often again in one execution: enough for a poisonous document to be found."""

_LOCAL_STORE = 512 << 20
_SET_CHILD_SUBREAPER = 36  # prctl(2)
_GRACE = 3.0
_SCANS_IN_FLIGHT = 64


@contextmanager
def connected() -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start one on this machine that listens on localhost."""
    # Kill what a worker started together with it: an engine's processes outlive no actor.
    os.environ.setdefault("RAY_process_group_cleanup_enabled", "1")
    # Ray's core writes errors of its own recovery to the terminal; ours tell what matters.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    joins = bool(os.environ.get("RAY_ADDRESS"))
    if not joins:
        # Despite its name this decides whether a node uses the loopback address; Ray turns a
        # given 127.0.0.1 into the public one and would listen there.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if joins:
        try:
            with _silent_stderr():
                ray.init(**quiet)
        except ConnectionError as error:
            raise ConfigError(
                f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: no answer from a cluster there; "
                "one with token authentication wants RAY_AUTH_MODE=token and its token"
            ) from error
    else:
        others = set(psutil.Process().children(recursive=True))
        # Orphans of this job's processes become children of this one, to be ended with it.
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
        with _silent_stderr():
            ray.init(
                address="local",
                # Logical: an actor, a reading task and Ray's own need not wait for one another.
                num_cpus=max(4, os.cpu_count() or 1),
                include_dashboard=False,
                object_store_memory=_LOCAL_STORE,
                **quiet,
            )
    try:
        # Ray prints its notes on what it retries to the standard output; ours go to stderr.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        ray.shutdown()
        if not joins:
            _end(set(psutil.Process().children(recursive=True)) - others)


def _end(left: set[psutil.Process]) -> None:
    """End what a local cluster left behind: an engine's workers notice its end after a while."""
    _, alive = psutil.wait_procs(left, timeout=_GRACE)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_GRACE)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what native code writes to stderr (Ray's core says that it read its log level)."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def scan(requests: Iterable[tuple[str, int, int | None]]) -> Iterator[Scanned]:
    """`record_sizes` of many sources as Ray tasks, in order, a bounded number in flight."""
    import ray

    task: Any = ray.remote(num_cpus=1)(record_sizes)
    waiting: list[Any] = []
    for request in requests:
        waiting.append(task.remote(*request))
        if len(waiting) >= _SCANS_IN_FLIGHT:
            yield ray.get(waiting.pop(0))
    yield from map(ray.get, waiting)


def execute(
    unit_rows: Sequence[dict[str, Any]],
    records: int,
    config: AnnotateConfig,
    constructor: tuple[Any, ...],
) -> Iterator[dict[str, Any]]:
    """Read, annotate and commit units; yield a receipt for each that got through.

    A unit may be missing here and yet be committed, or the other way round: the truth is the
    listing of the output.
    """
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    context.max_errored_blocks = -1
    context.max_consecutive_actor_init_deaths = 2
    context.execution_no_progress_timeout_s = -1
    gpus = ray.cluster_resources().get("GPU", 0)
    wanted: Any = config.engine_args.get("tensor_parallel_size", 1)
    units_open = min(_MOST_OPEN, max(UNITS_OPEN, _DOCUMENTS_OPEN * len(unit_rows) // records))
    pool = ray.data.ActorPoolStrategy(
        size=config.engines,
        max_concurrent_calls_per_actor=units_open,
        # As many again wait at the actor; with equal numbers a pool would never grow.
        max_tasks_in_flight_per_actor=2 * units_open,
    )
    units = ray.data.from_items(list(unit_rows), override_num_blocks=len(unit_rows))
    with warnings.catch_warnings():
        # Ray 2.60 deprecates the two arguments on retries without a successor for either.
        warnings.simplefilter("ignore", DeprecationWarning)
        pipeline = units.map(
            read_unit, num_cpus=0.5, compute=ray.data.TaskPoolStrategy(size=2 * config.engines)
        ).map_batches(
            AnnotateUnits,
            fn_constructor_args=constructor,
            batch_size=1,
            batch_format="pyarrow",
            compute=pool,
            # Logical: an actor that asks a server mostly waits for it.
            num_cpus=0.25 if config.engine == "http" else 1,
            num_gpus=wanted if gpus and config.engine == "vllm" else 0,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # Ray sets it when a dataset is made
    yield from pipeline.iter_rows()
