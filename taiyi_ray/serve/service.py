"""A replica of the service: one engine, and the HTTP application that uses it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from fastapi import APIRouter, FastAPI

from taiyi_ray.config import ServeConfig
from taiyi_ray.engine.engine import SharedEngine
from taiyi_ray.engine.prepare import asking_form
from taiyi_ray.engine.start import NOT_STARTED, model_here, start, why_not_started
from taiyi_ray.errors import EngineDied
from taiyi_ray.models import Model
from taiyi_ray.serve import api, problems, task_routes
from taiyi_ray.serve.admission import Admission, Share, batch_slots, document_slots
from taiyi_ray.serve.batches import routes
from taiyi_ray.serve.batches.inside import RouteClient
from taiyi_ray.serve.batches.store import Store
from taiyi_ray.serve.gate import Asked
from taiyi_ray.serve.keys import Caller, Keys
from taiyi_ray.serve.metrics import ServiceMetrics
from taiyi_ray.serve.problems import Problem
from taiyi_ray.serve.replica import prepare

_EVERY = 5.0
"""Seconds between two writes of the slots' metrics."""


def _started(config: ServeConfig, digest: str) -> tuple[SharedEngine, Model | None]:
    """Start the engine; return it, and the model that it runs (None if it runs none itself)."""
    try:
        model = model_here(config, digest)
        # The settings of the service accept only engines that requests can share.
        return cast(SharedEngine, start(config, model, metrics=True)), model
    except Exception as error:
        raise RuntimeError(f"{NOT_STARTED}: {why_not_started(error)}") from error


class Service:
    """The deployment of Ray Serve.

    Args:
        config: the settings, with the context length that the model decides.
        digest: of the model that was prepared where the service was started.
        batches: handle of the deployment that runs batches; without it there are no batches.
    """

    def __init__(self, config: ServeConfig, digest: str, batches: Any = None) -> None:
        prepare()
        self._config, self._digest, self._batches = config, digest, batches
        self._engine, model = _started(config, digest)
        self._metrics = ServiceMetrics()
        self._admission = Admission(document_slots(config))
        self._openai = None
        if model is not None:
            from taiyi_ray.engine.vllm import VllmEngine
            from taiyi_ray.serve.openai import OpenAI

            assert isinstance(self._engine, VllmEngine)
            self._openai = OpenAI(self._engine, config, model)
        self._annotator = task_routes.RequestAnnotator(
            self._engine, config, self._find_model, self._metrics.row
        )
        self._watching: asyncio.Task[None] | None = None

    async def _find_model(self, name: str | None) -> task_routes.ServedModel:
        if self._openai:
            return await self._openai.find(name)
        if name not in (None, self._config.name):
            raise Problem(
                404, f"there is no model {name!r}; the model is {self._config.name}", param="model"
            )
        return task_routes.ServedModel(None, self._digest, asking_form(self._config))

    def __serve_build_asgi_app__(self) -> FastAPI:
        config = self._config
        routers = self._answering(self._admission)
        share = Share(self._admission, batch_slots(config))
        self._inside = RouteClient(api.unguarded(self._answering(share)))
        if self._batches:
            assert config.batches is not None, "it is settled before"
            store, digest = Store(config.batches), self._digest
            tell = self._batches.look.remote
            routers.append(routes.router(store, self._endpoints, digest, tell))
        self._watching = asyncio.ensure_future(self._watch())
        return api.application(
            routers,
            Keys(config.api_keys_file),
            self._metrics,
            api.health_routes(self._engine, self._admission, config.name),
            most_bytes=config.max_megabytes << 20,
            most_bytes_at={"/v1/files": routes.MOST_BYTES},
            time_limit=config.time_limit,
            hosts=config.hosts,
        )

    @property
    def _endpoints(self) -> list[str]:
        """The paths that the requests of a batch may name."""
        of_openai = ["/v1/chat/completions", "/v1/completions"] if self._openai else []
        return ["/v1/annotate", *of_openai]

    def _answering(self, admission: Admission) -> list[APIRouter]:
        """Return the routes that the engine answers; they take their slots from `admission`."""
        routers = [task_routes.router(self._annotator, self._config, admission)]
        if self._openai:
            from taiyi_ray.serve import openai

            routers.append(openai.router(self._openai, self._config, admission))
        return routers

    async def answer(
        self, url: str, body: dict[str, Any], caller: Caller, id_: str
    ) -> tuple[int, Any]:
        """Answer a request of a batch as its route does.

        Args:
            url: path of the route.
            body: of the request.
            caller: the key that ordered the batch.
            id_: of the request.

        Returns:
            The HTTP status and the body of the answer.

        Raises:
            EngineDied: the engine died while it worked on this request.
        """
        if not self._engine.alive:
            return 503, problems.body(503, str(problems.engine_ended().detail))
        status, answer = await self._inside.post(url, body, Asked(id_, caller))
        if status == 503 and not self._engine.alive:
            raise EngineDied("the engine ended")
        return status, answer

    async def _watch(self) -> None:
        while True:
            self._metrics.slots(self._admission.taken, self._admission.slots)
            await asyncio.sleep(_EVERY)

    async def check_health(self) -> None:
        """Raise when the engine ended: Ray Serve calls this regularly, and replaces the replica."""
        if not self._engine.alive:
            raise EngineDied("the engine ended")

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.close()
