"""A replica of the service: one engine, and the HTTP application on it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import FastAPI

from taiyi_ray import models
from taiyi_ray.config import ServeConfig
from taiyi_ray.engine import SharedEngine, logged_error, shared_engine_of
from taiyi_ray.errors import EngineDied, TaiyiError
from taiyi_ray.serve import api, task_routes
from taiyi_ray.serve.admission import Admission
from taiyi_ray.serve.binding import bind_to_node
from taiyi_ray.serve.keys import Keys
from taiyi_ray.serve.metrics import Metrics
from taiyi_ray.serve.problems import Problem

_EVERY = 5.0
"""Seconds between two looks at the places, for the metrics."""


def _log_with_serve() -> None:
    """Write what is logged here into the log of the replica, as Ray Serve writes its own."""
    ours, serves = logging.getLogger("taiyi_ray"), logging.getLogger("ray.serve")
    ours.setLevel(logging.INFO)
    if serves.handlers:
        ours.handlers, ours.propagate = serves.handlers, False


NOT_STARTED = "no engine could be started"


def _started(config: ServeConfig, model_path: str | None) -> SharedEngine:
    try:
        return shared_engine_of(config, model_path, metrics=True)
    except Exception as error:
        why = error if isinstance(error, TaiyiError) else logged_error() or error
        raise RuntimeError(f"{NOT_STARTED}: {why}") from error


class Service:
    """The deployment of Ray Serve.

    Args:
        config: with the context limit settled.
        digest: of the model where the service was started.
    """

    def __init__(self, config: ServeConfig, digest: str | None) -> None:
        bind_to_node()
        _log_with_serve()
        model = None
        if config.engine == "vllm":
            model = models.resolve(config.model, digest=digest)
        self._config = config
        self._engine = _started(config, str(model.path) if model else None)
        self._metrics = Metrics()
        self._admission = Admission(config.max_in_flight or self._engine.most_in_flight)
        self._openai = None
        if model is not None:
            from taiyi_ray.engine.vllm import VllmEngine
            from taiyi_ray.serve.openai import OpenAI

            assert isinstance(self._engine, VllmEngine)
            self._openai = OpenAI(self._engine, config, model)
        self._annotations = task_routes.Annotations(
            self._engine, config, self._find_model, self._metrics.row
        )
        self._watching: asyncio.Task[None] | None = None

    async def _find_model(self, name: str | None) -> tuple[Any, str]:
        if self._openai:
            return await self._openai.find(name)
        if name not in (None, self._config.name):
            raise Problem(404, f"no model {name!r}; there is {self._config.name}", param="model")
        return None, "fake"

    def __serve_build_asgi_app__(self) -> FastAPI:
        config = self._config
        routers = [task_routes.router(self._annotations, config, self._admission)]
        if self._openai:
            from taiyi_ray.serve import openai

            routers.append(openai.router(self._openai, config, self._admission))
        self._watching = asyncio.ensure_future(self._watch())
        return api.application(
            routers,
            Keys(config.api_keys_file),
            self._metrics,
            api.health_routes(self._engine, self._admission, config.name),
            most_bytes=config.max_megabytes << 20,
            most_bytes_at={},
            time_limit=config.time_limit,
        )

    async def _watch(self) -> None:
        while True:
            self._metrics.places(self._admission.taken, self._admission.most)
            await asyncio.sleep(_EVERY)

    async def check_health(self) -> None:
        """Ray Serve asks now and then; an exception makes it replace this replica."""
        if not self._engine.alive:
            raise EngineDied("the engine ended")

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.close()
