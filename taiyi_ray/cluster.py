"""Join a Ray cluster, or start one on this machine.

The functions import Ray themselves, because `connected` must set environment variables before.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from taiyi_ray.config import EngineSettings
from taiyi_ray.engine import ENGINES
from taiyi_ray.errors import ConfigError, TaiyiError, Unfinished, first_line
from taiyi_ray.placement import Resources

_LOCAL_STORE = 512 << 20
_SET_CHILD_SUBREAPER = 36  # prctl(2)
_GRACE = 3.0


class Workers(NamedTuple):
    """The processes that a run wants on a cluster.

    Attributes:
        each: what one of them takes.
        most: how many there are at most.
        name: what one of them is, for messages.
    """

    each: Resources
    most: int
    name: str


def engines(config: EngineSettings) -> Workers:
    """The engines that the settings ask for."""
    return Workers(ENGINES[config.engine].resources(config), config.engine_range[1], "an engine")


@contextmanager
def connected(workers: Workers) -> Iterator[None]:
    """Join the cluster of RAY_ADDRESS, or start one on this machine that listens on localhost.

    Args:
        workers: what will run there.

    Raises:
        ConfigError: no cluster answers at RAY_ADDRESS, this machine is too small for one worker, or
            it has no place for Ray's files.
        Unfinished: Ray did not start in its time.
    """
    # When Ray ends a worker, it also kills the processes that the worker started. So an engine's
    # processes do not outlive its actor.
    os.environ.setdefault("RAY_process_group_cleanup_enabled", "1")
    # Ray's core writes errors from its own recovery to the terminal. Our messages say what matters.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    joins = bool(os.environ.get("RAY_ADDRESS"))
    if not joins:
        # Despite its name, this variable decides whether a node uses the loopback address. Without
        # it, Ray would turn 127.0.0.1 into the public address and listen there.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    others = set(psutil.Process().children(recursive=True))
    try:
        if joins:
            _join()
        else:
            _start(_logical_cpus(workers))
        if not joins and not _nodes_for(workers.each):
            raise ConfigError(
                f"{workers.name} takes {workers.each}, which this machine does not have; "
                "join a cluster that has them (RAY_ADDRESS), or install the extra cpu"
            )
        # Ray prints notes about its retries to the standard output. Ours go to stderr, so drop all.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        ray.shutdown()
        if not joins:
            _end(set(psutil.Process().children(recursive=True)) - others)


_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


def _join() -> None:
    import ray

    try:
        with _silent_stderr():
            ray.init(**_QUIET)
    except ConnectionError as error:
        raise ConfigError(
            f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: no cluster answers there; "
            "one with token authentication needs RAY_AUTH_MODE=token and its token"
        ) from error


def _start(cpus: int) -> None:
    import ray

    # Orphans of this job's processes become children of this process, which ends them at the end.
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    try:
        with _silent_stderr():
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_LOCAL_STORE,
                **_QUIET,
            )
    except Exception as error:  # Ray has no class of its own for a process that is late
        late = isinstance(error, ConnectionError | TimeoutError)
        if isinstance(error, OSError) and not late:
            raise ConfigError(
                f"Ray cannot start on this machine ({first_line(error)}); RAY_TMPDIR names the "
                "folder for its files"
            ) from error
        raise Unfinished(
            f"Ray did not start on this machine ({first_line(error)}); when the machine is less "
            "busy, the same command does the work"
        ) from error


def _logical_cpus(workers: Workers) -> int:
    """The number of logical CPUs for a local cluster.

    It may exceed the real one, so that engines and reading tasks need not wait for one another.
    """
    return max(os.cpu_count() or 1, 3 + math.ceil(workers.most * workers.each.cpus))


def _nodes_for(resources: Resources) -> list[dict[str, Any]]:
    """The living nodes that are large enough for these resources, whether they are free or not."""
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


def result(waiting: Any) -> Any:
    """Wait for the result of a Ray task.

    Args:
        waiting: what stands for the result.

    Raises:
        TaiyiError: the task raised it. Ray's own error has the task's traceback for a message.
    """
    import ray
    from ray.exceptions import RayTaskError

    try:
        return ray.get(waiting)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, TaiyiError) else error from None


def answers() -> bool:
    """Whether the cluster that this process joined still answers."""
    import ray

    try:
        return any(node["Alive"] for node in ray.nodes())
    except Exception:  # whatever a broken cluster raises
        return False


def situation(workers: Workers) -> str:
    """Describe what a worker takes and what the cluster has, for a person whose job is stuck.

    When the cluster does not answer, the text says only that.
    """
    import ray

    wanted = workers.each
    try:
        alive = [node for node in ray.nodes() if node["Alive"]]
        total, free = ray.cluster_resources(), ray.available_resources()
    except Exception as error:  # whatever a broken cluster raises
        return f"the cluster does not answer ({type(error).__name__})"
    return (
        f"{workers.name} takes {wanted}; {len(_nodes_for(wanted))} of {len(alive)} nodes are large "
        f"enough for one, and of the cluster's {total.get('CPU', 0):g} CPUs and "
        f"{total.get('GPU', 0):g} GPUs {free.get('CPU', 0):g} and {free.get('GPU', 0):g} are free"
    )


def _end(left: set[psutil.Process]) -> None:
    """End the processes that a local cluster left behind.

    The workers of an engine notice only after a while that their engine has ended.
    """
    _, alive = psutil.wait_procs(left, timeout=_GRACE)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_GRACE)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what native code writes to stderr, such as a note of Ray's core about its log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
