"""Ray: joining a cluster, or starting one on this machine.

Ray is imported inside the functions: what `connected` sets must be there before.
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
from typing import Any

import psutil

from taiyi_ray.config import EngineConfig
from taiyi_ray.engine import ENGINES
from taiyi_ray.errors import ConfigError
from taiyi_ray.placement import Resources

_LOCAL_STORE = 512 << 20
_SET_CHILD_SUBREAPER = 36  # prctl(2)
_GRACE = 3.0


@contextmanager
def connected(config: EngineConfig) -> Iterator[None]:
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
        wanted = ENGINES[config.engine].resources(config)
        if not joins and not _nodes_for(wanted):
            raise ConfigError(
                f"an engine takes {wanted}, which this machine has not; "
                "join a cluster that has (RAY_ADDRESS), or install the extra cpu"
            )
        # Ray prints its notes on what it retries to the standard output; ours go to stderr.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        ray.shutdown()
        if not joins:
            _end(set(psutil.Process().children(recursive=True)) - others)


def _logical_cpus(config: EngineConfig) -> int:
    """So many that engines, reading tasks and Ray's own need not wait for one another."""
    engines = config.engine_range[1] * ENGINES[config.engine].resources(config).cpus
    return max(os.cpu_count() or 1, 3 + math.ceil(engines))


def _nodes_for(resources: Resources) -> list[dict[str, Any]]:
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


def situation(config: EngineConfig) -> str:
    """What an engine takes and what the cluster has: for a person who wonders why nothing goes on.

    Without a word where the cluster does not answer.
    """
    import ray

    wanted = ENGINES[config.engine].resources(config)
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
