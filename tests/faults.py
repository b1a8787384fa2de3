"""A proxy before an S3 server that breaks what passes: by script for a test, or by a seeded draw.

What it can do to a request, in the words of `FAULTS`:

    busy       503 SlowDown, nothing was done
    conflict   409 ConditionalRequestConflict, nothing was done
    reset      the connection is reset, nothing was done
    lost       all was done, and the connection is closed without an answer (the treacherous one)
    truncated  all was done, and the answer's body ends in the middle
    slow       all was done, and the answer's body comes in small pieces
    stalled    all was done, and the answer stops in the middle of its body for a few seconds
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

FAULTS = ("busy", "conflict", "reset", "lost", "truncated", "slow", "stalled")

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
_PIECES, _PAUSE, _STALL = 8, 0.02, 3.0


class FaultyProxy:
    """A proxy on localhost at `address`; to be used as a context manager.

    Attributes:
        down: answer nothing to anybody: each connection is reset.
        ignores_conditions: be like a store that does not know `If-None-Match`.
        done: how often each fault was inflicted.
        requests: how often each method was asked for each path (with the bucket, unquoted).
        sent: bytes of bodies sent in answer to GET, for each path.
    """

    def __init__(self, server: str) -> None:
        self._server = urlsplit(server).netloc
        self._rules: list[tuple[str, str, str, int]] = []
        self._draw: Callable[[str], str | None] = lambda method: None
        self._lock = threading.Lock()
        self.down = False
        self.ignores_conditions = False
        self.done: Counter[str] = Counter()
        self.requests: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[str] = Counter()

    def __enter__(self) -> FaultyProxy:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def handle_one_request(self) -> None:
                # A client that goes away in the middle is what the tests are about.
                with suppress(ConnectionError, TimeoutError):
                    return super().handle_one_request()
                self.close_connection = True

            def do_any(self) -> None:
                proxy._pass_on(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._listener.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._listener.server_address[1]}"
        threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._listener.server_close()

    def inflict(self, fault: str, method: str, path: str = "", times: int = 1) -> None:
        """Break the next requests of this method on paths that hold `path`."""
        assert fault in FAULTS
        with self._lock:
            self._rules += [(fault, method, path, times)]

    def heal(self) -> None:
        """Break nothing any more."""
        with self._lock:
            self.down, self._rules, self._draw = False, [], lambda method: None

    def inflict_at_random(self, seed: int, share: float) -> None:
        """Break a share of all requests, each in a way drawn from the seed."""
        draw = random.Random(seed)

        def fault(method: str) -> str | None:
            if draw.random() >= share:
                return None
            # A conflict is an answer to a conditional put only.
            return draw.choice([f for f in FAULTS if method == "PUT" or f != "conflict"])

        self._draw = fault

    def _fault(self, method: str, path: str) -> str | None:
        with self._lock:
            self.requests[method, path] += 1
            for n, (fault, of, part, times) in enumerate(self._rules):
                if of == method and part in path:
                    self._rules[n : n + 1] = [(fault, of, part, times - 1)] if times > 1 else []
                    break
            else:
                fault = self._draw(method) or ""
            if fault:
                self.done[fault] += 1
            return fault

    def _pass_on(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(request.path).path)
        fault = "reset" if self.down else self._fault(request.command, path)
        if fault == "reset":
            _reset(request)
            return
        if fault in ("busy", "conflict"):
            _refuse(request, fault)
            return
        upstream = http.client.HTTPConnection(self._server, timeout=60)
        try:
            headers = dict(request.headers.items())
            if self.ignores_conditions:
                headers.pop("If-None-Match", None)
            upstream.request(request.command, request.path, body, headers)
            answer = upstream.getresponse()
            data = answer.read()
        finally:
            upstream.close()
        if fault == "lost":
            request.close_connection = True
            return
        request.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                request.send_header(name, value)
        # The answer to HEAD tells the length of what it does not send.
        length = answer.getheader("Content-Length") if request.command == "HEAD" else len(data)
        request.send_header("Content-Length", str(length or 0))
        request.end_headers()
        if fault == "truncated":
            data = data[: len(data) // 2]
            request.close_connection = True
        if request.command == "GET" and answer.status in (200, 206):
            with self._lock:
                self.sent[path] += len(data)
        if fault == "stalled":
            request.wfile.write(data[: len(data) // 2])
            time.sleep(_STALL)
            request.wfile.write(data[len(data) // 2 :])
        elif fault == "slow":
            size = len(data) // _PIECES + 1
            for start in range(0, len(data), size):
                request.wfile.write(data[start : start + size])
                time.sleep(_PAUSE)
        else:
            request.wfile.write(data)


def _reset(request: BaseHTTPRequestHandler) -> None:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.close_connection = True


def _refuse(request: BaseHTTPRequestHandler, fault: str) -> None:
    status, code = {
        "busy": (503, "SlowDown"),
        "conflict": (409, "ConditionalRequestConflict"),
    }[fault]
    body = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode()
    request.send_response_only(status)
    request.send_header("Content-Type", "application/xml")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
