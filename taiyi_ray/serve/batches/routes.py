"""OpenAI's routes for files and batches; the runner answers the batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request, UploadFile
from fastapi.responses import StreamingResponse
from openai.types import Batch, FileDeleted, FileObject
from pydantic import BaseModel, ConfigDict, Field

from taiyi_ray import storage
from taiyi_ray.serve.batches.store import File, Order, Shelf, Store
from taiyi_ray.serve.problems import ErrorBody, Problem
from taiyi_ray.serve.requests import Body

MOST_BYTES = 200 << 20
"""Bytes of an uploaded file at most, as at OpenAI."""

_CHUNK = 1 << 20

_Key = Annotated[str, Field(max_length=64)]
_Value = Annotated[str, Field(max_length=512)]


class BatchRequest(Body):
    """Which file of requests to answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "input_file_id": "file-0192f0c1d2e3a94b0c5d6e7f8091a2b3",
                    "endpoint": "/v1/annotate",
                    "completion_window": "24h",
                }
            ]
        },
    )

    input_file_id: str = Field(description="an uploaded file, JSON lines: a request each")
    endpoint: str = Field(description="the `url` of all its requests")
    completion_window: Literal["24h"] = Field(description="what is not answered by then expires")
    metadata: dict[_Key, _Value] | None = Field(None, max_length=16)


class FileList(BaseModel):
    """Files, the newest first."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class BatchList(BaseModel):
    """Batches, the newest first."""

    object: Literal["list"] = "list"
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


def router(
    store: Store, endpoints: Sequence[str], digest: str, tell: Callable[[], object]
) -> APIRouter:
    """Make the routes below `/v1/files` and `/v1/batches`.

    Args:
        store: files and batches.
        endpoints: the paths that the requests of a batch may name.
        digest: of the model that answers.
        tell: tells the runner that a batch is new or cancelled.
    """
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody} for status in (400, 401, 404, 409, 413, 429)
    }
    routes = APIRouter(tags=["batches"], responses=problems)

    # These routes are not `async`: FastAPI runs them in threads, where they may wait for storage.

    @routes.post("/v1/files", summary="Upload a file of requests")
    def upload(
        raw: Request,
        file: UploadFile,
        purpose: Annotated[Literal["batch"], Form(description="files are for batches here")],
    ) -> FileObject:
        """JSON lines; each `{"custom_id", "method": "POST", "url", "body"}`."""
        return _shelf(store, raw).add_file(file.filename or "upload", file.file).shown()

    @routes.get("/v1/files", summary="List files")
    def files(
        raw: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        order: Literal["desc"] = "desc",
        purpose: Literal["batch", "batch_output"] | None = None,
    ) -> FileList:
        """The newest first; what a batch made is as old as the batch."""
        found, more = _shelf(store, raw).files(after, limit, purpose)
        first, last = _ends(found)
        shown = [one.shown() for one in found]
        return FileList(data=shown, first_id=first, last_id=last, has_more=more)

    @routes.get("/v1/files/{file_id}", summary="What a file is")
    def file(file_id: str, raw: Request) -> FileObject:
        """Its name, size, time and purpose."""
        return _file(_shelf(store, raw), file_id).shown()

    @routes.get(
        "/v1/files/{file_id}/content",
        summary="Download a file",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}}},
    )
    def content(file_id: str, raw: Request) -> StreamingResponse:
        """As it was uploaded, or as a batch made it: a line for each answer."""
        shelf = _shelf(store, raw)
        found = _file(shelf, file_id)
        return StreamingResponse(
            _chunks(shelf.content(found.id)),
            media_type="application/jsonl",
            headers={"content-length": str(found.bytes)},
        )

    @routes.delete("/v1/files/{file_id}", summary="Delete a file")
    def delete(file_id: str, raw: Request) -> FileDeleted:
        """409 while a batch is at work on it."""
        shelf = _shelf(store, raw)
        found = _file(shelf, file_id)
        if user := shelf.user_of(found.id):
            raise Problem(409, f"{user} is at work on this file: cancel it first")
        shelf.remove_file(found.id)
        return FileDeleted(id=found.id, deleted=True, object="file")

    @routes.post("/v1/batches", summary="Have a file of requests answered")
    def create(request: BatchRequest, raw: Request) -> Batch:
        """Answered when there are places free, within a day; poll it for its state.

        Results are a file, a line for each request that was answered with 200; the others are in
        the error file. A request that streams gets 400. A cancelled or expired batch keeps what
        was answered.
        """
        caller = raw.state.asked.caller
        shelf = store.of(caller)
        if request.endpoint not in endpoints:
            message = f"no batches of {request.endpoint!r} here; of {', '.join(endpoints)}"
            raise Problem(400, message, param="endpoint")
        found = shelf.file(request.input_file_id)
        if found is None or found.purpose != "batch":
            message = f"no file {request.input_file_id!r} that was uploaded for a batch"
            raise Problem(400, message, param="input_file_id")
        order = shelf.add_batch(caller, digest, request.endpoint, found.id, request.metadata)
        tell()
        return shelf.shown(order)

    @routes.get("/v1/batches", summary="List batches")
    def batches(
        raw: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> BatchList:
        """The newest first; `after` goes on where a page ended."""
        found, more = _shelf(store, raw).batches(after, limit)
        first, last = _ends(found)
        return BatchList(data=found, first_id=first, last_id=last, has_more=more)

    @routes.get("/v1/batches/{batch_id}", summary="How far a batch is")
    def batch(batch_id: str, raw: Request) -> Batch:
        """Counts are of requests whose results are safe."""
        shelf = _shelf(store, raw)
        return shelf.shown(_batch(shelf, batch_id))

    @routes.post("/v1/batches/{batch_id}/cancel", summary="Cancel a batch")
    def cancel(batch_id: str, raw: Request) -> Batch:
        """What is at work is broken off; what was answered is kept."""
        shelf = _shelf(store, raw)
        found = _batch(shelf, batch_id)
        if ended := shelf.ended(found.id):
            raise Problem(409, f"{found.id} has ended: it is {ended.status}")
        shelf.cancel(found.id)
        tell()
        return shelf.shown(found)

    return routes


def _ends(found: Sequence[File | Batch]) -> tuple[str | None, str | None]:
    """Return the first and the last id of a page; a client asks for the next page by the last."""
    return (found[0].id, found[-1].id) if found else (None, None)


def _shelf(store: Store, raw: Request) -> Shelf:
    return store.of(raw.state.asked.caller)


def _file(shelf: Shelf, id_: str) -> File:
    found = shelf.file(id_)
    if found is None:
        raise Problem(404, f"no file {id_!r}")
    return found


def _batch(shelf: Shelf, id_: str) -> Order:
    found = shelf.batch(id_)
    if found is None:
        raise Problem(404, f"no batch {id_!r}")
    return found


def _chunks(path: str) -> Iterator[bytes]:
    with storage.open_read(path) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
