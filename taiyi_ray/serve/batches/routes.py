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
    """A file of requests to answer."""

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

    input_file_id: str = Field(description="id of an uploaded file that has a request on each line")
    endpoint: str = Field(description="the `url` of every request in the file")
    completion_window: Literal["24h"] = Field(
        description="requests that are not answered in this time expire"
    )
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
        purpose: Annotated[Literal["batch"], Form(description="files are only for batches")],
    ) -> FileObject:
        """JSON lines, a request each: `{"custom_id", "method": "POST", "url", "body"}`."""
        return _shelf(store, raw).add_file(file.filename or "upload", file.file).shown()

    @routes.get("/v1/files", summary="List files")
    def files(
        raw: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        order: Literal["desc"] = "desc",
        purpose: Literal["batch", "batch_output"] | None = None,
    ) -> FileList:
        """The newest file comes first. Results have the age of their batch."""
        page, more = _shelf(store, raw).files(after, limit, purpose)
        first, last = _ends(page)
        shown = [one.shown() for one in page]
        return FileList(data=shown, first_id=first, last_id=last, has_more=more)

    @routes.get("/v1/files/{file_id}", summary="Describe a file")
    def file(file_id: str, raw: Request) -> FileObject:
        """The response has the file's name, size, time and purpose."""
        return _file(_shelf(store, raw), file_id).shown()

    @routes.get(
        "/v1/files/{file_id}/content",
        summary="Download a file",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/jsonl": {"schema": {"type": "string"}}}}},
    )
    def content(file_id: str, raw: Request) -> StreamingResponse:
        """The file as it was uploaded, or the results of a batch, a line for each request."""
        shelf = _shelf(store, raw)
        wanted = _file(shelf, file_id)
        return StreamingResponse(
            _chunks(shelf.content(wanted.id)),
            media_type="application/jsonl",
            headers={"content-length": str(wanted.bytes)},
        )

    @routes.delete("/v1/files/{file_id}", summary="Delete a file")
    def delete(file_id: str, raw: Request) -> FileDeleted:
        """A file that an open batch reads cannot be deleted (409)."""
        shelf = _shelf(store, raw)
        wanted = _file(shelf, file_id)
        if user := shelf.user_of(wanted.id):
            raise Problem(409, f"the batch {user} reads this file: cancel the batch first")
        shelf.remove_file(wanted.id)
        return FileDeleted(id=wanted.id, deleted=True, object="file")

    @routes.post("/v1/batches", summary="Create a batch")
    def create(request: BatchRequest, raw: Request) -> Batch:
        """The requests of a file are answered when slots are free, within a day.

        Get the batch again to see its state. The output file has a line for each request that was
        answered with 200, and the error file has a line for each other request. A request with
        `stream` is answered with 400. A cancelled or expired batch keeps the answers that it has.
        """
        caller = raw.state.asked.caller
        shelf = store.of(caller)
        if request.endpoint not in endpoints:
            message = f"a batch cannot ask {request.endpoint!r}; it can ask {', '.join(endpoints)}"
            raise Problem(400, message, param="endpoint")
        input_file = shelf.file(request.input_file_id)
        if input_file is None or input_file.purpose != "batch":
            message = f"there is no file {request.input_file_id!r} that was uploaded for a batch"
            raise Problem(400, message, param="input_file_id")
        order = shelf.add_batch(caller, digest, request.endpoint, input_file.id, request.metadata)
        tell()
        return shelf.shown(order)

    @routes.get("/v1/batches", summary="List batches")
    def batches(
        raw: Request,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> BatchList:
        """The newest batch comes first. `after` is the last id of the page before."""
        page, more = _shelf(store, raw).batches(after, limit)
        first, last = _ends(page)
        return BatchList(data=page, first_id=first, last_id=last, has_more=more)

    @routes.get("/v1/batches/{batch_id}", summary="Show the state of a batch")
    def batch(batch_id: str, raw: Request) -> Batch:
        """The counts include only requests whose results are stored."""
        shelf = _shelf(store, raw)
        return shelf.shown(_batch(shelf, batch_id))

    @routes.post("/v1/batches/{batch_id}/cancel", summary="Cancel a batch")
    def cancel(batch_id: str, raw: Request) -> Batch:
        """Requests at work are broken off. Earlier answers are kept."""
        shelf = _shelf(store, raw)
        order = _batch(shelf, batch_id)
        if ended := shelf.ended(order.id):
            raise Problem(409, f"the batch {order.id} has ended already: it is {ended.status}")
        shelf.cancel(order.id)
        tell()
        return shelf.shown(order)

    return routes


def _ends(page: Sequence[File | Batch]) -> tuple[str | None, str | None]:
    """Return the first and the last id of a page; a client asks for the next page by the last."""
    return (page[0].id, page[-1].id) if page else (None, None)


def _shelf(store: Store, raw: Request) -> Shelf:
    return store.of(raw.state.asked.caller)


def _file(shelf: Shelf, id_: str) -> File:
    file = shelf.file(id_)
    if file is None:
        raise Problem(404, f"there is no file {id_!r}")
    return file


def _batch(shelf: Shelf, id_: str) -> Order:
    order = shelf.batch(id_)
    if order is None:
        raise Problem(404, f"there is no batch {id_!r}")
    return order


def _chunks(path: str) -> Iterator[bytes]:
    with storage.open_read(path) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
