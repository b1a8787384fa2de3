"""The input of a batch: what is wrong with it is said by line, what is right is cut into units."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import BatchError

from taiyi_ray.serve.batches import plan as plan_module
from taiyi_ray.serve.batches.plan import planned, requests
from taiyi_ray.serve.batches.store import BatchPlan, Order
from tests.serve.batches.batching import URL, jsonl, line

ORDER = Order(
    id="batch_" + "0" * 32,
    owner="alice",
    models=["taiyi", "taiyi:ner"],
    digest="m",
    endpoint=URL,
    input_file_id="file-" + "0" * 32,
    metadata=None,
    created_at=0,
)
MODELS = ["taiyi", "taiyi:ner", "taiyi:re"]


def read(data: bytes, order: Order = ORDER, most_bytes: int = 1 << 20):
    return planned(io.BytesIO(data), order, MODELS, most_bytes)


def found(data: bytes, **more) -> list[tuple[str, int | None, str | None]]:
    errors = read(data, **more)
    assert isinstance(errors, list)
    for error in errors:
        assert BatchError(**error).message
    return [(error["code"], error["line"], error["param"]) for error in errors]


GOOD = jsonl([line(0)])


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        (b"", [("empty_file", None, None)]),
        (b"\n \n", [("empty_file", None, None)]),
        (GOOD + b"{oops\n" + GOOD[:20], [("invalid_json_line", n, None) for n in (2, 3)]),
        (GOOD + b"[1]\n", [("invalid_request", 2, None)]),
        (b"\xff\xfe\n", [("invalid_json_line", 1, None)]),
        (b'{"custom_id": "\\ud800"}', [("invalid_json_line", 1, None)]),
        (b"[" * 100_000, [("invalid_json_line", 1, None)]),
        (GOOD + b"\n" + GOOD, [("duplicate_custom_id", 3, "custom_id")]),
        (jsonl([line(0, url="/v1/completions")]), [("mismatched_endpoint", 1, "url")]),
        (jsonl([line(0, method="GET")]), [("invalid_request", 1, "method")]),
        (jsonl([line(0, custom_id="")]), [("invalid_request", 1, "custom_id")]),
        (jsonl([line(0, custom_id=5)]), [("invalid_request", 1, "custom_id")]),
        (jsonl([line(0, body="x")]), [("invalid_request", 1, "body")]),
        (jsonl([line(0, more=1)]), [("invalid_request", 1, "more")]),
        (jsonl([line(0, {"model": "gpt-4"})]), [("model_not_found", 1, "body.model")]),
        (jsonl([line(0, {"model": ["taiyi"]})]), [("model_not_found", 1, "body.model")]),
        (jsonl([line(0, {"model": "taiyi:re"})]), [("model_not_allowed", 1, "body.model")]),
        (
            jsonl([line(0, {"model": "x"}, url="/")]),
            [("mismatched_endpoint", 1, "url"), ("model_not_found", 1, "body.model")],
        ),
    ],
)
def test_what_is_wrong_is_said_by_line(data, errors):
    assert found(data) == errors


def test_the_base_model_may_be_none_that_the_key_is_for():
    other = ORDER.model_copy(update={"models": ["taiyi:ner"]})
    assert found(GOOD, order=other) == [("model_not_allowed", 1, "body.model")]
    assert isinstance(read(jsonl([line(0, {"model": "taiyi:ner"})]), other), BatchPlan)


def test_too_many_requests_too_long_a_line_too_many_errors(monkeypatch):
    monkeypatch.setattr(plan_module, "MOST_REQUESTS", 3)
    assert isinstance(read(jsonl([line(n) for n in range(3)])), BatchPlan)
    assert found(jsonl([line(n) for n in range(5)])) == [("too_many_requests", 4, None)]
    long = jsonl([line(1, {"text": "x" * 3_000_000})])
    assert found(GOOD + long + b"{") == [("line_too_long", 2, None)]
    assert isinstance(read(GOOD + long, most_bytes=8 << 20), BatchPlan)
    assert len(found(b"{\n" * 1000)) == plan_module._MOST_ERRORS


@given(
    numbers=st.lists(st.integers(0, 200), unique=True, min_size=1, max_size=200),
    between=st.lists(st.sampled_from(["\n", "\r\n", "\n\n  \n"]), min_size=1, max_size=5),
    end=st.booleans(),
    mark=st.booleans(),
    chunk=st.integers(1, 500),
)
def test_the_units_hold_all_requests_in_order_however_the_file_is_read(
    numbers, between, end, mark, chunk
):
    text = "\ufeff" if mark else ""
    for n, number in enumerate(numbers):
        one = line(number, {"text": f"é糖\u2028 {number}"})
        last = n == len(numbers) - 1 and not end
        text += json.dumps(one, ensure_ascii=False)
        text += "" if last else between[n % len(between)]
    data = text.encode()

    class InParts(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(chunk)

    plan = planned(InParts(data), ORDER, MODELS, 1 << 20)
    assert isinstance(plan, BatchPlan) and plan.total == len(numbers)
    assert plan == planned(io.BytesIO(data), ORDER, MODELS, 1 << 20).model_copy(
        update={"started_at": plan.started_at}
    )
    together = []
    for span in plan.spans:
        held = requests(data[span.start : span.start + span.size])
        assert len(together) == span.first and len(held) == span.last - span.first + 1
        together += held
    assert [one.custom_id for one in together] == [f"r{number}" for number in numbers]


@given(data=st.binary() | st.text().map(str.encode))
def test_any_bytes_get_an_answer(data):
    assert isinstance(read(data), list)
