"""The input of a batch: it is checked line by line before the first question, and cut into units.

The form of a line is OpenAI's (https://platform.openai.com/docs/api-reference/batch/request-input).
Whatever the size of the file, only each request's custom id, offset and size are kept in memory.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from taiyi_ray.corpus.units import cut
from taiyi_ray.serve.batches.store import BatchPlan, Order, UnitSpan
from taiyi_ray.serve.problems import Problem

MOST_REQUESTS = 50_000
"""Requests of a batch at most, as at OpenAI."""
UNIT_REQUESTS = 64
"""Requests of a unit at most. After a restart of the service the units that were at work are done
again, whole."""
_UNITS = 16
"""A small batch is cut into smaller units, about this many, which show its progress."""
_MOST_ERRORS = 50
_CHUNK = 1 << 20


class Request(BaseModel):
    """A line of the input."""

    model_config = ConfigDict(extra="forbid")

    custom_id: str = Field(min_length=1, max_length=512)
    method: Literal["POST"]
    url: str
    body: dict[str, Any]


def planned(
    stream: BinaryIO, order: Order, models: Sequence[str], most_bytes: int
) -> BatchPlan | list[dict[str, Any]]:
    """Check the input of a batch, and return its plan, or the errors of the input in OpenAI's form.

    Args:
        stream: the content of the input file.
        order: the batch.
        models: names that a request may give as its model; the first is the base model.
        most_bytes: of a line.
    """
    errors: list[dict[str, Any]] = []
    starts, sizes = array("q"), array("q")
    seen: set[str] = set()
    end = 0
    for number, start, line in _lines(stream, most_bytes):
        if len(errors) == _MOST_ERRORS:
            break
        if not line.strip():
            continue
        if len(line) > most_bytes:
            message = f"the line has more than {most_bytes >> 20} MB, which is the limit here"
            errors.append(_error("line_too_long", message, number))
            break
        if len(sizes) == MOST_REQUESTS:
            message = f"a batch may have {MOST_REQUESTS:,} requests; make more batches of this file"
            errors.append(_error("too_many_requests", message, number))
            break
        try:
            request = parsed(line)
        except ValidationError as error:
            errors.append(_of_validation(error, number))
            continue
        starts.append(start)
        # Blank lines before a request count with it, so that a unit's span is of bounded size.
        sizes.append(start + len(line) - end)
        end = start + len(line)
        if request.custom_id in seen:
            message = f"an earlier line has the same custom_id {request.custom_id!r}"
            errors.append(_error("duplicate_custom_id", message, number, "custom_id"))
        seen.add(request.custom_id)
        errors += _of_request(request, order, models, number)
    if errors:
        return errors[:_MOST_ERRORS]
    if not sizes:
        return [_error("empty_file", "the input file holds no request")]
    most = max(1, min(UNIT_REQUESTS, len(sizes) // _UNITS))
    starts.append(end)
    spans = [
        UnitSpan(first, last, starts[first], starts[last + 1] - starts[first])
        for first, last in cut(sizes, 0, most)
    ]
    return BatchPlan(started_at=int(time.time()), spans=spans)


def requests(data: bytes) -> list[Request]:
    """Return the requests of a unit, given the bytes of its span."""
    return [parsed(line) for line in data.split(b"\n") if line.strip()]


def parsed(line: bytes) -> Request:
    """Parse a line as a request; raises ValidationError."""
    return Request.model_validate_json(line.removeprefix(b"\xef\xbb\xbf"))


def _lines(stream: BinaryIO, most: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield each line with its number (from 1) and its offset in the stream, in bytes.

    A line that is longer than `most` bytes is the last one, and is cut.
    """
    number, start, rest = 1, 0, b""
    while chunk := stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield number, start, line
            number, start = number + 1, start + len(line) + 1
        if len(rest) > most:
            break
    yield number, start, rest


def _of_request(
    request: Request, order: Order, models: Sequence[str], number: int
) -> Iterator[dict[str, Any]]:
    if request.url != order.endpoint:
        message = f"the url {request.url!r} is not the batch's endpoint {order.endpoint!r}"
        yield _error("mismatched_endpoint", message, number, "url")
    model = request.body.get("model") or models[0]
    if model not in models:
        yield _error("model_not_found", f"there is no model {model!r}", number, "body.model")
        return
    try:
        order.caller.check_model(model)
    except Problem as problem:
        yield _error("model_not_allowed", str(problem.detail), number, "body.model")


def _of_validation(error: ValidationError, number: int) -> dict[str, Any]:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return _error("invalid_json_line", f"the line is not JSON: {first['ctx']['error']}", number)
    param = ".".join(str(part) for part in first["loc"]) or None
    return _error("invalid_request", str(first["msg"]), number, param)


def _error(
    code: str, message: str, line: int | None = None, param: str | None = None
) -> dict[str, Any]:
    return {"code": code, "message": message, "line": line, "param": param}
