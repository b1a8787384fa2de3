"""The HTTP application of a replica: all routes behind the gate, with their description."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import APIRouter, FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from taiyi_ray import __version__
from taiyi_ray.engine.engine import SharedEngine
from taiyi_ray.serve import page
from taiyi_ray.serve.admission import Admission
from taiyi_ray.serve.gate import Gate, RequestCounter
from taiyi_ray.serve.keys import Keys
from taiyi_ray.serve.problems import ErrorBody, Problem, engine_ended, response

_DESCRIPTION = """This service annotates biomedical texts in English and Chinese. Its rows are those
of the corpus job, and every mention stands in its text. OpenAI's routes for chats, completions,
files and batches use the same model. All errors have OpenAI's form."""

_OPENAI = ("/v1/chat/", "/v1/completions", "/v1/files", "/v1/batches")


class Health(BaseModel):
    """The state of the replica that answers."""

    status: str
    model: str
    slots_taken: int = Field(description="slots that documents and chats at work have taken")
    slots: int = Field(description="slots of the engine")
    questions: int = Field(description="questions that the engine has not answered yet")


def application(
    routers: list[APIRouter],
    keys: Keys,
    counter: RequestCounter,
    health: APIRouter,
    *,
    most_bytes: int,
    most_bytes_at: dict[str, int],
    time_limit: float,
    hosts: Collection[str] | None = None,
) -> FastAPI:
    """Make the HTTP application: the routes, the page, and the gate before them.

    Args:
        routers: routes that need a key.
        keys: the keys of the clients that are let in.
        counter: counts the requests.
        health: routes that need no key.
        most_bytes: of a request's body.
        most_bytes_at: the same for paths with limits of their own.
        time_limit: seconds in which a request must be answered.
        hosts: as for the gate.
    """
    app = unguarded(routers)
    app.include_router(health)
    paths = {getattr(route, "path", None) for route in app.routes}
    app.include_router(page.router(with_models="/v1/models" in paths))
    app.add_middleware(
        Gate,
        keys=keys,
        counter=counter,
        most_bytes=most_bytes,
        most_bytes_at=most_bytes_at,
        time_limit=time_limit,
        hosts=hosts,
    )
    return app


def unguarded(routers: list[APIRouter]) -> FastAPI:
    """Make the application without the gate, for requests from inside the replica."""
    # FastAPI's own pages (docs_url, redoc_url) are off: they would load scripts from other servers.
    app = FastAPI(
        title="taiyi_ray",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
    )
    key = Security(HTTPBearer(auto_error=False, description="a key of --api-keys-file"))
    for router in routers:
        app.include_router(router, dependencies=[key])
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    return app


def health_routes(engine: SharedEngine, admission: Admission, model: str) -> APIRouter:
    """Make the routes `GET /health` and `GET /ready`.

    Args:
        engine: of this replica.
        admission: its slots.
        model: name of the model.
    """
    routes = APIRouter(tags=["health"], responses={503: {"model": ErrorBody}})

    def state(status: str) -> Health:
        if not engine.alive:
            raise engine_ended()
        return Health(
            status=status,
            model=model,
            slots_taken=admission.taken,
            slots=admission.slots,
            questions=engine.unanswered,
        )

    @routes.get("/health", summary="Tell whether the engine is alive")
    async def health() -> Health:
        """503 when the engine ended: Ray Serve then replaces the replica."""
        return state("alive")

    @routes.get("/ready", summary="Tell whether the replica accepts requests now")
    async def ready() -> Health:
        """503 when the engine ended or all slots are taken: send the next request elsewhere."""
        ready = state("ready")
        if admission.taken >= admission.slots:
            raise Problem(503, "all slots are taken; try again", retry_after=2)
        return ready

    return routes


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer a body of the wrong form: 400 at OpenAI's routes, as its clients expect, else 422."""
    assert isinstance(error, RequestValidationError)
    status = 400 if request.url.path.startswith(_OPENAI) else 422
    # A field that accepts more than one form gives errors for each form. The deepest error is of
    # the form that the client meant.
    first = max(error.errors(), key=lambda one: len(one["loc"]))
    param = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "extra_forbidden":
        message = f"{param}: not supported here"
    else:
        said = first["msg"].removeprefix("Value error, ")
        message = f"{param or 'the body (JSON, with its content type)'}: {said}"
    more = len(error.errors()) - 1
    return response(status, message + (f" (and {more} more)" if more else ""), param or None)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return error.response()
    message = f"{request.method} {request.url.path}: {error.detail}"
    return response(error.status_code, message, headers=error.headers)
