"""The deployment of Ray Serve that runs batches: it sends requests to the service's replicas."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from taiyi_ray.config import ServeConfig
from taiyi_ray.errors import EngineDied
from taiyi_ray.serve.admission import batch_slots
from taiyi_ray.serve.batches.runner import RouteAnswer, Runner
from taiyi_ray.serve.batches.store import Order, Store
from taiyi_ray.serve.keys import Keys
from taiyi_ray.serve.problems import body as body_of
from taiyi_ray.serve.problems import service_failed
from taiyi_ray.serve.replica import prepare

_log = logging.getLogger(__name__)

_LONGEST_PAUSE = 30.0
"""Seconds between two tries of a request at most."""
_DEATHS = 3
"""When so many engines died while they worked on the same request, the request is taken for the
reason, and is answered with an error."""


class _Later(Exception):
    """The same request may be answered later."""


class Batches:
    """The runner of batches as a deployment with one replica, and without an engine.

    Args:
        config: the same settings as the service's.
        digest: of the model.
        application: name of Serve's application, whose deployment `Service` answers.
    """

    def __init__(self, config: ServeConfig, digest: str, application: str) -> None:
        from ray import serve

        prepare()
        assert config.batches is not None, "it is settled before"
        self._service: Any = serve.get_deployment_handle("Service", application)
        self._keys = Keys(config.api_keys_file)
        self._suspects = asyncio.Lock()
        self._runner = Runner(
            Store(config.batches),
            self._ask,
            self._known,
            digest=digest,
            models=config.models,
            slots=batch_slots(config) * config.engine_range[1],
            most_bytes=config.max_megabytes << 20,
        )
        self._running = asyncio.ensure_future(self._runner.run())

    async def look(self) -> None:
        """Look now for batches that are new or cancelled."""
        self._runner.look()

    async def check_health(self) -> None:
        """Raise when the runner ended: Ray Serve calls this regularly, and replaces the replica."""
        if self._running.done():
            raise RuntimeError("the runner of batches ended") from self._running.exception()

    def __del__(self) -> None:
        if hasattr(self, "_running"):
            self._running.cancel()

    async def _known(self, key: str) -> bool:
        return await self._keys.of(key) is not None

    async def _ask(self, url: str, body: dict[str, Any], order: Order, id_: str) -> RouteAnswer:
        """Let a replica answer a request; try again for as long as no replica has a free slot.

        A request that an engine worked on when it died may have killed the engine. Such requests
        are tried again one at a time, so that an innocent one among them is soon answered.
        """
        deaths = 0

        async def attempt() -> RouteAnswer:
            nonlocal deaths
            async with self._suspects if deaths else nullcontext():
                try:
                    return await self._asked(url, body, order, id_)
                except EngineDied as error:
                    deaths += 1
                    if deaths < _DEATHS:
                        raise _Later from error
            return _problem(500, f"the engine died {deaths} times while it answered this request")

        again = retry_if_exception_type(_Later)
        pause = wait_random_exponential(max=_LONGEST_PAUSE)
        return await AsyncRetrying(retry=again, wait=pause)(attempt)

    async def _asked(self, url: str, body: dict[str, Any], order: Order, id_: str) -> RouteAnswer:
        """Ask once, with the rights that the key of the batch has now.

        Raises:
            _Later: the request cannot be answered at the moment.
            EngineDied: the engine or its replica died while it worked on the request.
        """
        from ray.exceptions import RayActorError
        from ray.serve.exceptions import RayServeException, RequestCancelledError

        caller = await self._keys.of(order.owner)
        if caller is None:
            raise _Later  # the key was removed: the runner cancels this task soon
        response = self._service.answer.remote(url, body, caller, id_)
        try:
            answer = RouteAnswer(*await response)
        except asyncio.CancelledError:
            response.cancel()
            raise
        except (RayServeException, RequestCancelledError) as error:
            raise _Later from error  # the queue is full, or no replica is there, or one is ending
        except RayActorError as error:
            # Over gRPC (app.ENVIRONMENT) Ray says that a replica is unavailable when it died
            # during a request.
            raise EngineDied(str(error)) from error
        except EngineDied:
            raise
        except Exception:
            _log.exception("request %s", id_)
            return _problem(500, str(service_failed(id_).detail))
        if answer.status in (429, 503):
            raise _Later
        return answer


def _problem(status: int, message: str) -> RouteAnswer:
    return RouteAnswer(status, body_of(status, message))
