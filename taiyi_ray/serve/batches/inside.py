"""Requests from inside a replica: its own routes answer them, so a batch gets the same answers."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from taiyi_ray.serve import problems
from taiyi_ray.serve.gate import Asked


class RouteClient:
    """Asks an application in the same process; if a call is cancelled, so is the route's work.

    Args:
        app: the routes, without the gate.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def post(self, url: str, body: dict[str, Any], asked: Asked) -> tuple[int, Any]:
        """Post a request to a route, and return the status and the body of the answer.

        Args:
            url: path of the route.
            body: of the request.
            asked: the request's id and caller, which the gate would else find out.

        Raises:
            Exception: any fault that the route does not answer with a Problem.
        """
        if body.get("stream"):
            return 400, problems.body(400, "stream: not supported in a batch", "stream")

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"] = {"asked": asked}
            await self._app(scope, receive, send)

        with asked.held:
            async with httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app), base_url="http://inside", timeout=None
            ) as client:
                response = await client.post(
                    url,
                    content=json.dumps(body).encode(),
                    headers={"content-type": "application/json"},
                )
        return response.status_code, response.json()
