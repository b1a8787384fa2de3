"""The application: `taiyi-ray serve` runs it, `serve deploy` imports `build`."""

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
from taiyi_ray.serve.admission import places
from taiyi_ray.serve.batches.deployment import Batches
from taiyi_ray.serve.keys import Keys
from taiyi_ray.serve.service import Service

if TYPE_CHECKING:
    from ray.serve import Application

APPLICATION = "taiyi"

ENVIRONMENT = {
    # What is streamed goes from replica to proxy by gRPC, not as objects of Ray, and is written by
    # the thread that reads it: half of the CPU for each piece (benchmarks/LOG.md).
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # gRPC drops messages above 4 MiB, which an answer may be, when all its work is done: the limits
    # of sizes are the gate's (replica.py sees that this is set where gRPC is).
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": "-1",
    # Serve's controller looks ten times a second whether something changed.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
    # Ray's workers run at niceness 15; a service yields to nobody.
    "RAY_worker_niceness": "0",
}
"""What Ray and Ray Serve read when they start, here and in actors: set where the nodes start."""

_QUEUED = 64
"""Requests that wait for a replica beyond those it refuses itself: more get Serve's own 503."""


def build(args: dict[str, Any]) -> Application:
    """The application by the `args` of a config file of Serve: what `serve deploy` imports.

    Which address Serve listens on stands elsewhere in that file; here it is taken for any.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
    """
    for name in ("host", "port"):
        if name in args:
            raise ConfigError(f"args: {name}: where Serve listens stands in http_options alone")
    return application(load(ServeConfig, None, {"host": "0.0.0.0", **args}))


def application(config: ServeConfig) -> Application:
    """The application of Ray Serve.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
    """
    from ray import serve

    config, digest = _settled(config)
    least, most = config.engine_range
    scaling: dict[str, Any] = {"num_replicas": least}
    most_places = places(config)
    if most > least:
        scaling = {
            "autoscaling_config": {
                "min_replicas": least,
                "max_replicas": most,
                "target_ongoing_requests": max(1, most_places // 2),
                "upscale_delay_s": 10,
                "downscale_delay_s": 300,
            }
        }
    deployment: Any = serve.deployment(
        serve.ingress()(Service),
        name="Service",
        ray_actor_options=ENGINES[config.engine].resources(config).as_options(),
        # A replica refuses by itself what it has no place for; Serve must not hold it back before.
        max_ongoing_requests=most_places + _QUEUED,
        max_queued_requests=_QUEUED,
        max_constructor_retry_count=2,
        health_check_period_s=5,
        health_check_timeout_s=30,
        logging_config={"encoding": "JSON", "enable_access_log": False},  # the gate has its own
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
        # Nothing is lost with it: what was at work is done again.
        graceful_shutdown_wait_loop_s=1,
        graceful_shutdown_timeout_s=5,
    )
    return cast(
        "Application",
        deployment.bind(config, digest, batches.bind(config, digest, APPLICATION)),
    )


def _settled(config: ServeConfig) -> tuple[ServeConfig, str]:
    """Settle what the model decides, and see that all can be used: before anything starts."""
    Keys(config.api_keys_file)
    place = config.batches or str(platformdirs.user_data_path("taiyi_ray") / "batches")
    storage.probe(storage.absolute(place))
    config = config.model_copy(update={"batches": storage.absolute(place)})
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
            raise KeyboardInterrupt  # asked twice: what is not answered yet is dropped
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    for setting, value in ENVIRONMENT.items():
        os.environ.setdefault(setting, value)
    console.print("starting the engine: some seconds to two minutes ...")
    with cluster.connected(config):
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        with console.status("starting"):  # turns, in a terminal
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
    """See that Serve listens where the settings say: one that ran before keeps its address."""
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
    """See that the address can be listened on; Serve would only say so in a log."""
    try:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        with socket.create_server((config.host, config.port), family=family):
            pass
    except OSError as error:
        raise ConfigError(
            f"--host {config.host} --port {config.port}: {error.strerror}; choose another"
        ) from error


def _metrics() -> list[str]:
    """Where Prometheus finds the metrics of each node."""
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
    # Serve tells it with the traces of its own processes around it.
    end = r' File "| The deployment failed| Failed to update|$'
    reasons = re.findall(rf"{NOT_STARTED}: .*?(?={end})", message)
    return reasons[-1] if reasons else message
