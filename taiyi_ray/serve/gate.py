"""The gate that every request passes: size, key, time limit, cancellation, access log, metrics.

It is an ASGI middleware, and does not derive from Starlette's BaseHTTPMiddleware: behind that one a
stream does not notice that its client is gone (https://www.starlette.io/middleware/#limitations).
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taiyi_ray.config import is_loopback
from taiyi_ray.serve.keys import EVERYBODY, Caller, Keys
from taiyi_ray.serve.problems import Problem, service_failed

_access = logging.getLogger("taiyi_ray.access")
_log = logging.getLogger(__name__)

OPEN = ("/", "/health", "/ready", "/openapi.json")
"""Paths that need no key: the page, the routes that monitor the service, and its description."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CLOSED = 499
"""The status in the log for a client that went away, as nginx has it; no client receives it."""


class RequestCounter(Protocol):
    """Counts the requests that are over."""

    def request(self, route: str, status: int, first_byte: float | None, seconds: float) -> None:
        """Count a request, as `ServiceMetrics.request` describes."""


@dataclass(slots=True)
class Asked:
    """A request as the routes and the log see it: `scope["state"]["asked"]`.

    Attributes:
        id: the request's id. Ray Serve makes it, passes it on in the header x-request-id, and
            returns it to the client in the same header. Without a usable one the gate makes an id.
        caller: the key that the request came with.
        noted: numbers and names (never text) that a route adds to the request's line in the log.
        held: what the request holds, such as slots, until its answer is sent or it ends otherwise.
    """

    id: str
    caller: Caller = EVERYBODY
    noted: dict[str, Any] = field(default_factory=dict)
    held: ExitStack = field(default_factory=ExitStack)


@dataclass(slots=True)
class _Sent:
    """What was sent of an answer.

    Attributes:
        began: when the request came, by `time.perf_counter`.
        status: of HTTP; 0 while nothing was sent.
        first_byte: seconds from the request to the first byte of the body.
        bytes: of the body.
        ended: whether the last part was sent.
    """

    began: float
    status: int = 0
    first_byte: float | None = None
    bytes: int = 0
    ended: bool = False


class Gate:
    """Lets a request through to the application, or answers it itself.

    Args:
        app: the application.
        keys: the keys of the clients that are let in.
        counter: counts the requests.
        hosts: host names under which clients may call the service; connections must then come to a
            loopback address of this machine. None allows any name and address.
        most_bytes: of a request's body.
        most_bytes_at: the same for paths with limits of their own.
        time_limit: seconds in which a request must be answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        counter: RequestCounter,
        *,
        hosts: Collection[str] | None = None,
        most_bytes: int,
        most_bytes_at: dict[str, int] | None = None,
        time_limit: float,
    ) -> None:
        self._app, self._keys, self._counter = app, keys, counter
        self._most_bytes, self._most_bytes_at = most_bytes, most_bytes_at or {}
        self._time_limit, self._hosts = time_limit, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as an ASGI application does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        given = headers.get(b"x-request-id", "")
        asked = Asked(given if _REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(8)}")
        scope.setdefault("state", {})["asked"] = asked
        answer = _Sent(time.perf_counter())

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
            else:
                body = message.get("body", b"")
                if body and answer.first_byte is None:
                    answer.first_byte = time.perf_counter() - answer.began
                answer.bytes += len(body)
                answer.ended = not message.get("more_body", False)
            await send(message)

        try:
            with asked.held:
                await self._through(scope, receive, send_on, headers, asked, answer)
        except asyncio.CancelledError:
            answer.status = _CLOSED
            raise
        finally:
            self._over(scope, asked, answer)

    async def _through(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: dict[bytes, str],
        asked: Asked,
        answer: _Sent,
    ) -> None:
        most = self._most_bytes_at.get(scope["path"], self._most_bytes)
        try:
            _check_site(headers, self._hosts)
            if self._hosts is not None:
                _check_address(scope)
            if _LENGTH.fullmatch(length := headers.get(b"content-length", "")):
                _check_size(int(length), most)
            if scope["path"] not in OPEN:
                asked.caller = await self._keys.caller(headers.get(b"authorization"))
            async with asyncio.timeout(self._time_limit):
                if not await _while_connected(self._app, scope, receive, send, most):
                    answer.status = _CLOSED
        except Problem as problem:
            await _refuse(problem, scope, receive, send, answer)
        except TimeoutError:
            message = (
                f"the answer took longer than {self._time_limit:g} seconds; ask for less at once"
            )
            late = Problem(503, message, retry_after=self._time_limit / 10)
            await _refuse(late, scope, receive, send, answer)
        except Exception:
            _log.exception("request %s", asked.id)
            await _refuse(service_failed(asked.id), scope, receive, send, answer)

    def _over(self, scope: Scope, asked: Asked, answer: _Sent) -> None:
        seconds = time.perf_counter() - answer.began
        route = getattr(scope.get("route"), "path", "(none)")
        self._counter.request(route, answer.status, answer.first_byte, seconds)
        fields = {
            "request": asked.id,
            "caller": asked.caller.name,
            "method": scope["method"],
            "route": route,
            "status": answer.status,
            "seconds": round(seconds, 4),
            "first_byte": answer.first_byte and round(answer.first_byte, 4),
            "bytes": answer.bytes,
            **asked.noted,
        }
        _access.info("request", extra=fields)


async def _refuse(
    problem: Problem, scope: Scope, receive: Receive, send: Send, answer: _Sent
) -> None:
    """Answer with a problem; if a part of the answer was sent already, break the answer off."""
    if answer.status:
        if answer.ended:
            return
        # The last part is missing then, by which the client sees that the answer is not whole.
        raise ConnectionAbortedError(str(problem)) from problem
    await problem.response()(scope, receive, send)


def _check_site(headers: dict[bytes, str], hosts: Collection[str] | None) -> None:
    """Refuse requests that a page of another site makes a browser send.

    Such a page sends a form (its `Origin` is not this host), or lets a host name of its own point
    to this machine (DNS rebinding: the name is not among `hosts`).
    """
    host = _address(headers, b"host", "//")
    origin = headers.get(b"origin")
    if origin and _address(headers, b"origin").netloc != host.netloc:
        raise Problem(
            403, f"a page of {origin[:100]!r} may not use this service; only its own page may"
        )
    if hosts is not None and host.hostname not in hosts:
        names = ", ".join(sorted(hosts))
        raise Problem(
            403, f"use one of these names of the service: {names}; or start the service with keys"
        )


def _address(headers: dict[bytes, str], name: bytes, before: str = "") -> SplitResult:
    """Split the address that a header holds into its parts."""
    try:
        return urlsplit(before + headers.get(name, ""))
    except ValueError as error:
        raise Problem(400, f"the header {name.decode()} holds no address: {error}") from error


def _check_address(scope: Scope) -> None:
    """Refuse a request that came to an address which other machines can connect to.

    A service without keys is for its own machine alone. The settings cannot tell which address Ray
    Serve really listens on: the proxy hands on the address at which the connection came in.
    """
    host, *_ = scope.get("server") or ("",)
    if not is_loopback(host):
        raise Problem(
            403,
            "this service was started without keys, for programs on its own machine, but other "
            "machines can connect to it: start it with --api-keys-file, or with --without-keys",
        )


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise Problem(413, f"the request has more than {most >> 20} MB, which is the limit here")


async def _while_connected(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, most: int
) -> bool:
    """Run the application until it has answered or the client is gone; return whether it answered.

    When the client is gone, the application is cancelled, and so are the questions at the engine.
    """
    gone = asyncio.Event()
    size = 0
    complete = asyncio.Event()

    async def receive_on() -> Message:
        nonlocal size
        if complete.is_set():
            await gone.wait()
            return {"type": "http.disconnect"}
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            _check_size(size, most)
            if not message.get("more_body", False):
                complete.set()
        else:
            gone.set()
        return message

    async def watch() -> None:
        await complete.wait()
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    answering = asyncio.ensure_future(app(scope, receive_on, send))
    watching = asyncio.ensure_future(watch())
    try:
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
            return True
        return False
    finally:
        for task in (answering, watching):
            task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await answering
