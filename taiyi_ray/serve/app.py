"""The application: `taiyi-ray serve` runs it, `serve deploy` imports `build`."""

from __future__ import annotations

import logging
import re
import signal
import threading
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console

from taiyi_ray import cluster, models, placement
from taiyi_ray.config import ServeConfig
from taiyi_ray.engine import most_in_flight
from taiyi_ray.errors import TaiyiError, Unfinished
from taiyi_ray.serve.keys import Keys
from taiyi_ray.serve.service import NOT_STARTED, Service

if TYPE_CHECKING:
    from ray.serve import Application

APPLICATION = "taiyi"

_QUEUED = 64
"""Requests that wait for a replica beyond those it refuses itself: more get Serve's own 503."""


def build(config: ServeConfig) -> Application:
    """The application of Ray Serve; its settings are the `args` of a config file of Serve.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
    """
    from ray import serve

    config, digest = _settled(config)
    least, most = config.engine_range
    scaling: dict[str, Any] = {"num_replicas": least}
    places = config.max_in_flight or most_in_flight(config)
    if most > least:
        scaling = {
            "autoscaling_config": {
                "min_replicas": least,
                "max_replicas": most,
                "target_ongoing_requests": max(1, places // 2),
                "upscale_delay_s": 10,
                "downscale_delay_s": 300,
            }
        }
    deployment: Any = serve.deployment(
        serve.ingress()(Service),
        name="Service",
        ray_actor_options=placement.of_engine(config).as_options(),
        # A replica refuses by itself what it has no place for; Serve must not hold it back before.
        max_ongoing_requests=places + _QUEUED,
        max_queued_requests=_QUEUED,
        max_constructor_retry_count=2,
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_wait_loop_s=1,
        graceful_shutdown_timeout_s=config.time_limit,
        **scaling,
    )
    return cast("Application", deployment.bind(config, digest))


def _settled(config: ServeConfig) -> tuple[ServeConfig, str | None]:
    """Settle what the model decides, and see that all can be used: before anything starts."""
    Keys(config.api_keys_file)
    if config.engine == "fake":
        limit = models.settled_context("fake", config.context_limit, None)
        return config.model_copy(update={"context_limit": limit}), None
    from taiyi_ray.serve.openai import adapter_arguments

    model = models.resolve(config.model)
    tokenizer = models.load_tokenizer(model, trust_remote_code=config.trust_remote_code)
    models.check_grammar(tokenizer)
    reach = models.context_length(model)
    limit = models.settled_context(model.name, config.context_limit, reach)
    placement.check_fits(config, model, limit)
    arguments = adapter_arguments(config) | config.engine_args
    return config.model_copy(
        update={"context_limit": limit, "engine_args": arguments}
    ), model.digest


def run(config: ServeConfig) -> int:
    """Serve until interrupted; return the exit code.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
        Unfinished: the engine could not be started.
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    console.print("starting the engine ...")
    with cluster.connected(config):
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(http_options={"host": config.host, "port": config.port})
        try:
            serve.run(build(config), name=APPLICATION, route_prefix="/", blocking=False)
        except TaiyiError:
            raise
        except RuntimeError as error:
            raise Unfinished(f"the service did not start: {_reason(error)}") from error
        try:
            console.print(f"ready: http://{config.host}:{config.port}/ (Ctrl-C ends it)")
            console.print(f"metrics: {', '.join(_metrics())}")
            stop.wait()
            console.print("ending: what was asked is answered first ...")
        finally:
            serve.shutdown()
    return 0


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
