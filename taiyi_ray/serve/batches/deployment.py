"""The deployment of Ray Serve that runs batches: it asks the replicas of the service."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from taiyi_ray.config import ServeConfig
from taiyi_ray.errors import EngineDied
from taiyi_ray.serve.admission import places_of_batches
from taiyi_ray.serve.batches.runner import Answer, Runner
from taiyi_ray.serve.batches.store import Order, Store
from taiyi_ray.serve.keys import Keys
from taiyi_ray.serve.problems import body as body_of
from taiyi_ray.serve.replica import prepare

_log = logging.getLogger(__name__)

_LONGEST_PAUSE = 30.0
_DEATHS = 3
"""How often a request may be at work in an engine that dies, before it is held to be the reason."""


class _Later(Exception):
    """The same request may be answered later."""


class Batches:
    """The runner of batches as a deployment; one replica, without an engine.

    Args:
        config: settled, as the service's.
        digest: of the model.
        application: the name of Serve's application, whose `Service` answers.
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
            most=places_of_batches(config) * config.engine_range[1],
            most_bytes=config.max_megabytes << 20,
        )
        self._running = asyncio.ensure_future(self._runner.run())

    async def look(self) -> None:
        """Look for new batches, and cancelled ones, now."""
        self._runner.look()

    async def check_health(self) -> None:
        """Ray Serve asks now and then; an exception makes it replace this replica."""
        if self._running.done():
            raise RuntimeError("the runner of batches ended") from self._running.exception()

    def __del__(self) -> None:
        if hasattr(self, "_running"):
            self._running.cancel()

    async def _known(self, key: str) -> bool:
        return await self._keys.of(key) is not None

    async def _ask(self, url: str, body: dict[str, Any], order: Order, id_: str) -> Answer:
        """Have a replica answer; again, for as long as there is none with a place free.

        What was at work in an engine that died may be what killed it: such requests are tried again
        one at a time, so that no other is suspected with them for long.
        """
        deaths = 0

        async def attempt() -> Answer:
            nonlocal deaths
            async with self._suspects if deaths else nullcontext():
                try:
                    return await self._asked(url, body, order, id_)
                except EngineDied as error:
                    deaths += 1
                    if deaths < _DEATHS:
                        raise _Later from error
            return _problem(500, f"the engine died {deaths} times while it answered this")

        again = retry_if_exception_type(_Later)
        pause = wait_random_exponential(max=_LONGEST_PAUSE)
        return await AsyncRetrying(retry=again, wait=pause)(attempt)

    async def _asked(self, url: str, body: dict[str, Any], order: Order, id_: str) -> Answer:
        """Ask once, as the key that ordered it is let in now.

        Raises:
            _Later: it cannot be answered at the moment.
            EngineDied: the replica died at it.
        """
        from ray.exceptions import RayActorError
        from ray.serve.exceptions import RayServeException, RequestCancelledError

        caller = await self._keys.of(order.owner)
        if caller is None:
            raise _Later  # the runner breaks this off
        response = self._service.answer.remote(url, body, caller, id_)
        try:
            answer = Answer(*await response)
        except asyncio.CancelledError:
            response.cancel()
            raise
        except (RayServeException, RequestCancelledError) as error:
            raise _Later from error  # no place in the queue, no replica yet, or one that is ending
        except RayActorError as error:
            # Asked by gRPC (app.ENVIRONMENT), a replica that died at it is said to be unavailable.
            raise EngineDied(str(error)) from error
        except EngineDied:
            raise
        except Exception:
            _log.exception("request %s", id_)
            return _problem(500, f"a fault of the service; its log tells more under {id_}")
        if answer.status in (429, 503):
            raise _Later
        return answer


def _problem(status: int, message: str) -> Answer:
    return Answer(status, body_of(status, message))
