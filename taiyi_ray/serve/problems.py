"""The errors of requests: an HTTP status, and a body that says what the client can do about it.

All bodies have OpenAI's form (https://platform.openai.com/docs/guides/error-codes), so that
OpenAI's clients show the message: `{"error": {"message", "type", "param", "code"}}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    406: "not_acceptable_error",
    409: "conflict_error",
    413: "request_too_large_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "internal_error",
    503: "overloaded_error",
}


class Error(BaseModel):
    """What is wrong, the type of the error, and the wrong parameter; `code` is the HTTP status."""

    message: str
    type: str
    param: str | None = None
    code: int


class ErrorBody(BaseModel):
    """The body of every response that reports an error."""

    error: Error


class Problem(HTTPException):
    """An error that a request gets as its answer.

    Args:
        status: of HTTP.
        message: what is wrong, and what the client can do.
        param: name of the parameter that is wrong.
        retry_after: seconds after which the client may send the same request again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        headers = {}
        if retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(retry_after)))
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        super().__init__(status, message, headers)
        self.param = param

    def response(self) -> JSONResponse:
        """Return the response that tells the client."""
        return response(self.status_code, str(self.detail), self.param, self.headers)


def engine_ended() -> Problem:
    """Return the error that clients get while Ray Serve replaces a replica whose engine ended."""
    message = "the engine ended and another one is being started; try again in a minute"
    return Problem(503, message, retry_after=60)


def service_failed(request: str) -> Problem:
    """Return the error for a request at which our own code failed; `request` is its id."""
    return Problem(500, f"the service failed at this request; its log tells more under {request}")


def body(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error.

    Args:
        status: of HTTP.
        message: what is wrong, and what the client can do.
        param: name of the parameter that is wrong.
    """
    type_ = TYPES.get(status, "internal_error" if status >= 500 else "invalid_request_error")
    error = Error(message=message, type=type_, param=param, code=status)
    return ErrorBody(error=error).model_dump()


def response(
    status: int, message: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the response of an error.

    Args:
        status: of HTTP.
        message: what is wrong, and what the client can do.
        param: name of the parameter that is wrong.
        headers: of the response.
    """
    return JSONResponse(body(status, message, param), status, headers)
