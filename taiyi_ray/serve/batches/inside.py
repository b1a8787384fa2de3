"""Requests from inside a replica: its own routes answer, so that a batch gets what others get."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from taiyi_ray.serve import problems
from taiyi_ray.serve.gate import Asked


class Inside:
    """Asks an application in the same process; what is cancelled here is cancelled there.

    Args:
        app: routes without the gate.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def post(self, url: str, body: dict[str, Any], asked: Asked) -> tuple[int, Any]:
        """The status and the body of the answer; who asks is known.

        Raises:
            whatever is no problem of the request.
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
