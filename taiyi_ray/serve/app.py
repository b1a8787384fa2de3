"""The application of Ray Serve: `taiyi-ray serve` runs it, `serve deploy` imports `build`."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import platformdirs
from rich.console import Console

from taiyi_ray import cluster, storage
from taiyi_ray.config import ServeConfig, load
from taiyi_ray.engine import ENGINES
from taiyi_ray.engine.prepare import prepare
from taiyi_ray.engine.start import NOT_STARTED
from taiyi_ray.errors import ConfigError, TaiyiError, Unfinished
from taiyi_ray.serve.admission import document_slots
from taiyi_ray.serve.batches.deployment import Batches
from taiyi_ray.serve.keys import Keys
from taiyi_ray.serve.service import Service

if TYPE_CHECKING:
    from ray.serve import Application

APPLICATION = "taiyi"

ENVIRONMENT = {
    # A stream goes from the replica to the proxy by gRPC and not as objects of Ray, and the thread
    # that reads a piece also writes it: this takes half of the CPU time (benchmarks/LOG.md).
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # gRPC drops messages above 4 MiB. An answer may be larger, and would be lost after all its
    # work. The gate limits sizes instead; replica.py checks that this is set where gRPC is used.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": "-1",
    # By default Serve's controller looks ten times a second for changes.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
    # Ray's workers run at niceness 15 by default; a service must not wait for other processes.
    "RAY_worker_niceness": "0",
}
"""Settings that Ray and Ray Serve read when they start, in this process and in actors. On a cluster
they must be set where the nodes start."""

_QUEUED = 64
"""Requests for which a replica has no slot, but which it takes so that it can refuse them with our
own 503. As many may wait in Serve's queue; any more get Serve's own 503."""


def build(args: dict[str, Any]) -> Application:
    """Return the application that `serve deploy` runs, by the `args` of Serve's config file.

    The address on which Serve listens stands elsewhere in that file: here it is taken to be one
    that other machines can connect to.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
    """
    for name in ("host", "port"):
        if name in args:
            raise ConfigError(
                f"args: {name}: remove it: only http_options says where Serve listens"
            )
    return application(load(ServeConfig, None, {"host": "0.0.0.0", **args}))


def application(config: ServeConfig) -> Application:
    """Return the application of Ray Serve: the service, and the runner of batches.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
    """
    from ray import serve

    config, digest = _settled(config)
    least, most = config.engine_range
    scaling: dict[str, Any] = {"num_replicas": least}
    slots = document_slots(config)
    if most > least:
        scaling = {
            "autoscaling_config": {
                "min_replicas": least,
                "max_replicas": most,
                "target_ongoing_requests": max(1, slots // 2),
                "upscale_delay_s": 10,
                "downscale_delay_s": 300,
            }
        }
    deployment: Any = serve.deployment(
        serve.ingress()(Service),
        name="Service",
        ray_actor_options=ENGINES[config.engine].resources(config).as_options(),
        # A replica itself refuses requests that it has no slot for, so Serve must pass them on.
        max_ongoing_requests=slots + _QUEUED,
        max_queued_requests=_QUEUED,
        max_constructor_retry_count=2,
        health_check_period_s=5,
        health_check_timeout_s=30,
        logging_config={"encoding": "JSON", "enable_access_log": False},  # the gate writes a log
        graceful_shutdown_wait_loop_s=1,
        graceful_shutdown_timeout_s=config.time_limit,
        **scaling,
    )
    batches: Any = serve.deployment(
        Batches,
        name="Batches",
        ray_actor_options={"num_cpus": 0},
        max_constructor_retry_count=2,
        health_check_period_s=5,
        health_check_timeout_s=30,
        # No result is lost when the runner ends: units that were at work are done again.
        graceful_shutdown_wait_loop_s=1,
        graceful_shutdown_timeout_s=5,
    )
    return cast(
        "Application",
        deployment.bind(config, digest, batches.bind(config, digest, APPLICATION)),
    )


def _settled(config: ServeConfig) -> tuple[ServeConfig, str]:
    """Complete the settings by what the model decides, and return them with the model's digest.

    Keys, the address of batches, and the model are checked here, before anything starts.
    """
    Keys(config.api_keys_file)
    batches = config.batches or str(platformdirs.user_data_path("taiyi_ray") / "batches")
    address = storage.absolute(batches)
    storage.probe(address)
    config = config.model_copy(update={"batches": address})
    prepared = prepare(config)
    config = prepared.config
    if ENGINES[config.engine].runs_model:
        from taiyi_ray.serve.openai import adapter_arguments

        arguments = adapter_arguments(config) | config.engine_args
        config = config.model_copy(update={"engine_args": arguments})
    return config, prepared.answering.digest


def run(config: ServeConfig) -> int:
    """Serve until interrupted; return the exit code.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
        Unfinished: the engine could not be started.
        KeyboardInterrupt: interrupted before it was ready.
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if not os.environ.get("RAY_ADDRESS"):
        _check_free(config)
    ready, stop = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        if stop.is_set() or not ready.is_set():
            raise KeyboardInterrupt  # the second signal: requests at work are dropped
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    for setting, value in ENVIRONMENT.items():
        os.environ.setdefault(setting, value)
    console.print("starting the engine: some seconds to two minutes ...")
    with cluster.connected(cluster.engines(config)):
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        with console.status("starting"):  # a spinner, if this is a terminal
            _start(config)
        host = f"[{config.host}]" if ":" in config.host else config.host
        try:
            ready.set()
            console.print(f"ready: http://{host}:{config.port}/ (Ctrl-C ends it)")
            console.print(f"metrics: {', '.join(_metrics())}")
            stop.wait()
            console.print("ending: what was asked is answered first (Ctrl-C again: it is not) ...")
        finally:
            stop.set()
            with suppress(KeyboardInterrupt):
                serve.delete(APPLICATION)
    return 0


def _start(config: ServeConfig) -> None:
    from ray import serve

    serve.start(http_options={"host": config.host, "port": config.port})
    _check_listens(config)
    try:
        serve.run(application(config), name=APPLICATION, route_prefix="/", blocking=False)
    except TaiyiError:
        raise
    except RuntimeError as error:
        raise Unfinished(f"the service did not start: {_reason(error)}") from error


def _check_listens(config: ServeConfig) -> None:
    """Check that Serve listens where the settings say: if it ran before, it keeps its address."""
    from ray.serve.context import _get_global_client

    client = _get_global_client()
    assert client is not None, "it was started before"
    there = client.http_config
    if (there.host, there.port) != (config.host, config.port):
        raise ConfigError(
            f"--host {config.host} --port {config.port}: Ray Serve runs here already and listens "
            f"on {there.host} port {there.port}; give that, or end it first (serve shutdown)"
        )


def _check_free(config: ServeConfig) -> None:
    """Check that the address is free; if it is not, Serve would only write that into a log."""
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        with socket.create_server((config.host, config.port), family=family):
            pass
    except OSError as error:
        raise ConfigError(
            f"--host {config.host} --port {config.port}: {error.strerror}; choose another"
        ) from error


def _metrics() -> list[str]:
    """Return the addresses at which Prometheus can read the metrics of each node."""
    import ray

    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in ray.nodes()
        if node["Alive"]
    ]


def _reason(error: BaseException) -> str:
    from ray import serve

    application = serve.status().applications.get(APPLICATION)
    if application is None:
        return str(error)
    told = [d.message for d in application.deployments.values() if d.message]
    message = " ".join(" ".join([*told, application.message]).split())
    # Serve puts the reason between the tracebacks of its own processes.
    end = r' File "| The deployment failed| Failed to update|$'
    reasons = re.findall(rf"{NOT_STARTED}: .*?(?={end})", message)
    return reasons[-1] if reasons else message
