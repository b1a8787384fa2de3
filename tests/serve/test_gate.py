"""The gate: size, key, time limit, cancellation, access log, counts; as bare ASGI."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.config import ServeConfig
from taiyi_ray.serve.gate import Gate
from taiyi_ray.serve.keys import Keys, add_key
from taiyi_ray.serve.problems import Problem

MOST = 1 << 20
App = Callable[..., Awaitable[None]]


class Counted:
    """What the gate counts."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int, float | None, float]] = []

    def request(self, route: str, status: int, first: float | None, seconds: float) -> None:
        self.requests.append((route, status, first, seconds))


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Takes the body and answers in two parts."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})


class Call:
    """One request through a gate: what came back, and what was counted."""

    def __init__(
        self,
        app: App = answer,
        *,
        body: list[bytes] = [b"{}"],  # noqa: B006
        headers: dict[str, str] | None = None,
        path: str = "/v1/annotate",
        keys: str | None = None,
        time_limit: float = 60,
        gone_after: float | None = None,
        hosts: list[str] | None = None,
        server: tuple[str, int | None] | None = ("127.0.0.1", 8000),
    ) -> None:
        self.sent: list[Any] = []
        self.counted = Counted()
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in (headers or {}).items()],
            "server": server,
        }
        left = list(body)

        async def receive() -> Any:
            if left:
                part = left.pop(0)
                return {"type": "http.request", "body": part, "more_body": bool(left)}
            await asyncio.sleep(3600 if gone_after is None else gone_after)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.sent.append(message)

        limits: Any = {"most_bytes": MOST, "time_limit": time_limit, "hosts": hosts}
        gate = Gate(app, Keys(keys), self.counted, **limits)
        asyncio.run(gate(self.scope, receive, send))

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {k.decode(): v.decode() for k, v in self.sent[0]["headers"]}

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self.sent[1]["body"])["error"])


def test_an_answer_passes_and_is_counted():
    call = Call()
    assert [message.get("body") for message in call.sent] == [None, b"one", b"two"]
    ((route, status, first, seconds),) = call.counted.requests
    assert (route, status) == ("(none)", 200)
    assert first is not None and 0 < first <= seconds


@pytest.mark.parametrize(
    ("body", "headers"),
    [([b"x"], {"content-length": str(MOST + 1)}), ([b"x" * (MOST // 2)] * 3, {})],
)
def test_a_body_above_the_limit_is_refused(body, headers):
    call = Call(body=body, headers=headers)
    assert call.status == 413
    assert "more than 1 MB" in call.error["message"]


def test_a_body_at_the_limit_passes():
    assert Call(body=[b"x" * MOST], headers={"content-length": str(MOST)}).status == 200


def test_without_a_key_only_the_open_paths_answer(tmp_path):
    file = str(tmp_path / "keys.yaml")
    key = add_key(file, "alice")
    assert Call(keys=file).status == 401
    assert Call(keys=file, headers={"authorization": f"Bearer {key}"}).status == 200
    for path in ("/", "/health", "/ready", "/openapi.json"):
        assert Call(keys=file, path=path).status == 200
    for path in ("/v1/models", "//", "/health/", "/nope"):
        assert Call(keys=file, path=path).status == 401


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:8000", None, 200),
        ("localhost:8000", "http://localhost:8000", 200),
        ("[::1]:8000", None, 200),
        ("localhost:8000", "http://elsewhere.example", 403),
        ("localhost:8000", "null", 403),
        ("elsewhere.example:8000", "http://elsewhere.example:8000", 403),  # DNS rebinding
        ("", None, 403),
    ],
)
def test_pages_of_other_sites_cannot_use_a_service_of_this_machine(host, origin, status):
    headers = {"host": host} | ({"origin": origin} if origin else {})
    hosts = ServeConfig(engine="fake").hosts
    assert Call(headers=headers, hosts=hosts).status == status


@pytest.mark.parametrize(
    ("server", "status"),
    [
        (("127.0.0.1", 8000), 200),
        (("127.8.7.6", 8000), 200),
        (("::1", 8000), 200),
        (("::ffff:127.0.0.1", 8000), 200),
        (("10.0.0.7", 8000), 403),
        (("::ffff:10.0.0.7", 8000), 403),
        (("2001:db8::1", 8000), 403),
        (("/run/socket", None), 403),
        (None, 403),
    ],
)
def test_without_keys_it_answers_only_where_this_machine_alone_reaches_it(server, status):
    """Whatever --host says: Serve may listen elsewhere."""
    hosts = ServeConfig(engine="fake").hosts
    call = Call(headers={"host": "localhost:8000"}, hosts=hosts, server=server)
    assert call.status == status
    assert status == 200 or "--api-keys-file" in call.error["message"]


def test_with_keys_or_a_word_that_none_are_wanted_it_answers_anywhere(tmp_path):
    for settings in ({"api_keys_file": str(tmp_path / "keys")}, {"without_keys": True}):
        hosts = ServeConfig(engine="fake", host="0.0.0.0", **settings).hosts
        assert Call(hosts=hosts, server=("10.0.0.7", 8000)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "["},
        {"host": "[::1"},
        {"host": "localhost]"},
        {"host": "localhost", "origin": "http://["},
        {"host": "[v1.x]", "origin": "http://[v1.x"},
    ],
)
def test_a_header_that_is_no_address_is_told_so(headers):
    for hosts in (None, ServeConfig(engine="fake").hosts):
        call = Call(headers=headers, hosts=hosts)
        assert call.status == 400 and "no address" in call.error["message"]


@given(
    st.dictionaries(
        st.sampled_from(["host", "origin", "content-length", "authorization", "x-request-id"]),
        st.text(st.characters(max_codepoint=255), max_size=30)
        | st.sampled_from(["\xb2", "9" * 5000, "-1", "http://[", "//[::1]:x", "Bearer \xff"]),
    ),
    st.booleans(),
)
def test_whatever_the_headers_hold_is_no_fault_of_ours(headers, of_this_machine):
    hosts = ServeConfig(engine="fake").hosts if of_this_machine else None
    assert Call(headers=headers, hosts=hosts).status < 500


def test_with_keys_it_may_have_any_name_and_pages_only_its_own(tmp_path):
    hosts = ServeConfig(host="0.0.0.0", api_keys_file=str(tmp_path / "keys")).hosts
    assert Call(headers={"host": "taiyi.example"}, hosts=hosts).status == 200
    foreign = {"host": "taiyi.example", "origin": "https://elsewhere.example"}
    assert Call(headers=foreign, hosts=hosts).status == 403


def test_a_request_has_an_id_and_a_given_one_stays_if_it_is_one():
    def id_of(**headers: str) -> str:
        return str(Call(headers=headers).scope["state"]["asked"].id)

    assert id_of().startswith("req-")
    assert id_of(**{"x-request-id": "mine-1"}) == "mine-1"
    for bad in ("a b", "x" * 100, "\n"):
        assert id_of(**{"x-request-id": bad}).startswith("req-")


def test_a_fault_is_told_without_its_trace(caplog):
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("the secret of the house")

    call = Call(broken)
    assert call.status == 500
    assert call.scope["state"]["asked"].id in call.error["message"]
    assert "secret" not in str(call.sent)
    assert "the secret of the house" in caplog.text  # there it helps


def test_a_problem_keeps_its_headers():
    async def full(scope: Any, receive: Any, send: Any) -> None:
        raise Problem(503, "full", retry_after=1.2)

    call = Call(full)
    assert (call.status, call.headers["retry-after"]) == (503, "2")
    assert call.error == {
        "message": "full", "type": "overloaded_error", "param": None, "code": 503,
    }  # fmt: skip


def test_what_takes_too_long_is_cancelled():
    ended = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    call = Call(slow, time_limit=0.05)
    assert call.status == 503 and "longer than 0.05 seconds" in call.error["message"]
    assert ended == [True]


def test_a_stream_that_takes_too_long_is_broken_off_not_ended():
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionAbortedError, match=r"longer than 0\.05 seconds"):
        Call(endless, time_limit=0.05)


def test_a_client_that_goes_away_cancels_what_it_asked_for():
    ended, call = [], None

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with scope["state"]["asked"].held:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(True)

    call = Call(slow, gone_after=0.05)
    assert ended == [True]
    assert call.sent == []
    assert [request[1] for request in call.counted.requests] == [499]


def test_the_application_also_sees_that_its_client_is_gone():
    """Starlette's streams listen themselves."""
    seen = []

    async def listening(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            seen.append(await receive())
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    Call(listening, gone_after=0.05)
    assert seen in ([{"type": "http.disconnect"}], ["cancelled"])


@pytest.mark.parametrize("end", ["answer", "error", "gone"])
def test_what_a_request_holds_is_let_go_when_it_is_over(end):
    held, ended = [], []

    async def holding(scope: Any, receive: Any, send: Any) -> None:
        held.append(1)
        scope["state"]["asked"].held.callback(held.pop)
        if end == "error":
            raise RuntimeError
        await answer(scope, receive, send)
        if end == "gone":
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(len(held))

    Call(holding, gone_after=0.05 if end == "gone" else None)
    assert held == [] and ended == ([1] if end == "gone" else [])


def test_the_log_has_numbers_and_names_but_no_text(caplog, tmp_path):
    file = str(tmp_path / "keys.yaml")
    key = add_key(file, "alice")

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["asked"].noted["prompt_tokens"] = 7
        await answer(scope, receive, send)

    caplog.set_level(logging.INFO, "taiyi_ray.access")
    body = b'{"text": "the patient Jane Doe"}'
    Call(noting, body=[body], keys=file, headers={"authorization": f"Bearer {key}"})
    (record,) = [r for r in caplog.records if r.name == "taiyi_ray.access"]
    line = vars(record)
    assert line["caller"] == "alice" and line["status"] == 200 and line["prompt_tokens"] == 7
    assert line["bytes"] == 6 and line["seconds"] >= line["first_byte"] > 0
    assert "Jane" not in str(line) and key not in str(line)
