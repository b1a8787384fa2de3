"""The task routes: they take documents, and return rows as the corpus job's, or files."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
import zipfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from taiyi_ray.annotation import Annotated, Annotator, guarded, internal_error
from taiyi_ray.config import ServeConfig
from taiyi_ray.engine.engine import SharedEngine
from taiyi_ray.errors import ConfigError, EngineDied
from taiyi_ray.fingerprint import fingerprint, identity
from taiyi_ray.formats import WRITTEN, document_from_value
from taiyi_ray.formats.format import UNWRITTEN, Writer
from taiyi_ray.records import Document
from taiyi_ray.serve.admission import Admission
from taiyi_ray.serve.gate import Asked
from taiyi_ray.serve.problems import ErrorBody, Problem, engine_ended
from taiyi_ray.serve.requests import AnnotateRequest
from taiyi_ray.tasks import assign, with_shortcuts
from taiyi_ray.tasks.manual import Described, described_to
from taiyi_ray.tasks.task import Assignment
from taiyi_ray.tasks.template import AskingForm

_log = logging.getLogger(__name__)

_A_SLOT = 1_000_000
"""Characters of prompts for which a document needs one slot: prompts at work take memory."""

_LONGEST_NAME = 200
"""Bytes of a file's name in an archive, without its ending; file systems allow 255 with it."""


class ServedModel(NamedTuple):
    """A model that a request names.

    Attributes:
        adapter: its adapter, for the engine; None for the base model.
        digest: the digest of model and adapter together.
        form: the form of the questions.
    """

    adapter: Any
    digest: str
    form: AskingForm


FindModel = Callable[[str | None], Awaitable[ServedModel]]
"""Finds the model of a name; None is the base model."""

MEDIA_TYPES = {
    "application/bioc+xml": "bioc-xml",
    "application/bioc+json": "bioc-json",
    "text/x-pubtator": "pubtator",
    "application/x-brat+zip": "brat",
    "application/jsonl": "jsonl",
    "text/x-conll": "conll",
}
"""The media types that `Accept` may name besides JSON, and their formats. None is registered; only
that of JSON lines is in common use (https://jsonlines.org/)."""


class Usage(BaseModel):
    """The documents, questions and tokens of a request."""

    documents: int
    questions: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


class Prompted(BaseModel):
    """A question as the model got it."""

    task: str
    types: list[str]
    language: str
    window: int
    messages: list[dict[str, str]]


class AnnotateResponse(BaseModel):
    """A row for each document, in order, as in the output of a corpus job (docs/columns.md)."""

    model: str
    rows: list[dict[str, Any]]
    usage: Usage
    seconds: float
    prompts: list[list[Prompted]] | None = None


class TaskList(BaseModel):
    """The tasks that a request may name."""

    tasks: list[Described]


class RequestAnnotator:
    """Annotates the documents of requests, which share one engine.

    Args:
        engine: answers the questions.
        config: the settings of the service.
        find_model: finds the adapter that a request names; raises Problem if there is none.
        count: counts a row for the metrics.
    """

    def __init__(
        self,
        engine: SharedEngine,
        config: ServeConfig,
        find_model: FindModel,
        count: Callable[[dict[str, Any]], None],
    ) -> None:
        self._engine, self._config, self._find_model = engine, config, find_model
        self._count = count

    async def form(self) -> AskingForm:
        """Return the form in which the model without an adapter is asked."""
        return (await self._find_model(None)).form

    async def annotate(
        self, request: AnnotateRequest, asked: Asked, admission: Admission
    ) -> _Result:
        """Annotate the documents of a request; a fault in a document is recorded in its row.

        Work that takes long on long texts is done in threads, so that the event loop can serve
        other requests meanwhile.

        Args:
            request: the body of the request.
            asked: holds the slots of the request.
            admission: gives the slots.

        Raises:
            Problem: the request cannot be answered at all.
        """
        began = time.perf_counter()
        grounding = request.grounding or self._config.grounding
        scores = self._config.scores if request.scores is None else request.scores
        admission.check(len(request.documents or ()) or 1)
        grammar = grounding == "grammar"
        assignments = await asyncio.to_thread(_assignments, request, grammar=grammar)
        documents = await asyncio.to_thread(_documents, request, self._config.max_documents)
        most = self._config.max_tokens
        if request.max_tokens is not None and request.max_tokens > most:
            raise Problem(422, f"an answer may have {most} tokens at most", param="max_tokens")
        adapter, digest, form = await self._find_model(request.model)
        assignments = [assignment.in_form(form) for assignment in assignments]
        config = self._config.model_copy(
            update={
                "grounding": grounding,
                "scores": scores,
                "max_tokens": request.max_tokens or most,
            }
        )
        engine = self._engine.variant(scores=scores, adapter=adapter)
        annotator = Annotator(engine, assignments, config.max_tokens)
        slots = await asyncio.to_thread(_slots, annotator, documents, config.max_characters)
        await admission.enter(asked.held, slots)
        annotated = await asyncio.gather(*(_annotated(annotator, one) for one in documents))
        mark = fingerprint(identity(config, assignments, digest))
        told = await asyncio.to_thread(lambda: [_Told.of(one, asked.id, mark) for one in annotated])
        for one in told:
            self._count(one.row)
        prompts = None
        if request.prompts:
            prompts = await asyncio.to_thread(
                lambda: [_prompts(annotator, one) for one in documents]
            )
        model = request.model or self._config.name
        return _Result(model, told, time.perf_counter() - began, prompts)


def _slots(annotator: Annotator, documents: Sequence[Document], most: int) -> int:
    """Return how many slots a request needs: one for a document, more if its prompts are long.

    Raises:
        Problem: 413, all prompts together would have more than `most` characters.
    """
    sizes = [annotator.size(document) for document in documents]
    if sum(sizes) > most:
        raise Problem(
            413,
            f"the prompts of this request would have about {sum(sizes):,} characters; the limit is "
            f"{most:,}. Every question repeats the text, so ask for fewer documents, types or "
            "tasks at once",
        )
    return sum(-(-size // _A_SLOT) or 1 for size in sizes)


async def _annotated(annotator: Annotator, document: Document) -> Annotated:
    """Annotate a document; raises Problem (503) when the engine died."""
    try:
        return await guarded(annotator, document)
    except EngineDied as error:
        raise engine_ended() from error


@dataclass(frozen=True, slots=True)
class _Told:
    """A document as the answer has it.

    Attributes:
        annotated: the document and its annotations.
        row: as the corpus job writes it, but with `metadata` as a dictionary.
        data: the row as JSON.
    """

    annotated: Annotated
    row: dict[str, Any]
    data: bytes

    @classmethod
    def of(cls, annotated: Annotated, run_id: str, mark: str) -> _Told:
        """Make the row of a document; if that is impossible, a `failed` row without its text.

        Args:
            annotated: the document.
            run_id: id of the request.
            mark: fingerprint of the request.
        """

        def told(one: Annotated) -> _Told:
            row = one.row(unit="", run_id=run_id, fingerprint=mark)
            row["metadata"] = dict(row["metadata"])  # Arrow has a map as a list of pairs
            return cls(one, row, _json(row))

        try:
            return told(annotated)
        except Exception as error:
            return told(internal_error(Document(None, position=annotated.document.position), error))


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class _Result:
    """The answer to a request, before it is written as JSON or as a file."""

    def __init__(
        self,
        model: str,
        told: Sequence[_Told],
        seconds: float,
        prompts: list[list[Prompted]] | None,
    ) -> None:
        self._model, self._told = model, told
        self._seconds, self._prompts = seconds, prompts
        answers = [answer for one in told for answer in one.row["answers"]]
        tokens = {
            name: sum(answer[name] for answer in answers)
            for name in ("prompt_tokens", "cached_tokens", "output_tokens")
        }
        self.usage = Usage(documents=len(told), questions=len(answers), **tokens)

    def as_json(self) -> Response:
        """Return the body of AnnotateResponse.

        It is joined from rows that are JSON already: writing all rows in one call would hold the
        interpreter's lock, and other requests would wait.
        """
        rest = {
            "model": self._model,
            "usage": self.usage.model_dump(),
            "seconds": round(self._seconds, 4),
        }
        parts = [_json(rest)[:-1], b',"rows":[', b",".join(one.data for one in self._told), b"]"]
        if self._prompts is not None:
            prompts = [_json([p.model_dump() for p in of_one]) for of_one in self._prompts]
            parts += [b',"prompts":[', b",".join(prompts), b"]"]
        return Response(b"".join([*parts, b"}"]), media_type="application/json")

    def exported(self, media_type: str) -> Response:
        """Return the documents as a file; the header x-taiyi-lost counts what it could not hold."""
        format_ = WRITTEN[MEDIA_TYPES[media_type]]
        assert format_.writer is not None
        lost: Counter[str] = Counter()
        files: list[tuple[str, dict[str, bytes]]] = []
        for number, one in enumerate(told.annotated for told in self._told):
            if one.status in UNWRITTEN:
                lost[f"{one.status} documents"] += 1
                continue
            try:
                written = format_.writer.write(one.document, one.annotations)
            except Exception:
                _log.exception("document %d of a request, as %s", number, format_.name)
                lost["documents that could not be written"] += 1
                continue
            lost += written.lost
            files.append((f"{number:04d}-{one.document.document_id}", written.parts))
        headers = {"x-taiyi-lost": "; ".join(f"{what} ({n})" for what, n in lost.items())}
        data = _zipped(files) if format_.writer.apart else _joined(files, format_.writer)
        headers = {name: value for name, value in headers.items() if value}
        return Response(data, media_type=media_type, headers=headers)


def _joined(files: Iterable[tuple[str, dict[str, bytes]]], writer: Writer) -> bytes:
    (ending,) = writer.endings
    return b"".join(writer.file((parts[ending] for _, parts in files), datetime.now(UTC).date()))


def _zipped(files: Iterable[tuple[str, dict[str, bytes]]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, parts in files:
            safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
            safe = safe.encode()[:_LONGEST_NAME].decode(errors="ignore")
            for ending, data in parts.items():
                archive.writestr(safe + ending, data)
    return buffer.getvalue()


def _assignments(request: AnnotateRequest, *, grammar: bool) -> list[Assignment]:
    options = with_shortcuts(
        request.tasks, request.options, request.types, request.relations, request.ask
    )
    if unused := sorted(request.options.keys() - set(request.tasks)):
        raise Problem(422, f"options: {unused[0]} is not among the tasks", param="options")
    try:
        return assign(request.tasks, options, grammar=grammar, origin="options")
    except ConfigError as error:
        raise Problem(422, str(error), param="tasks") from error


def _documents(request: AnnotateRequest, most: int) -> list[Document]:
    """Make the documents of a request; a broken one gets the status `failed`.

    Raises:
        Problem: neither texts nor documents, both, or more than `most` documents.
    """
    if (request.text is None) == (request.documents is None):
        raise Problem(422, "give either text or documents", param="text")
    records: list[Any] = [request.text] if request.documents is None else request.documents
    if len(records) > most:
        raise Problem(
            413, f"the request has {len(records)} documents; the limit of this service is {most}"
        )
    language = None if request.language == "auto" else request.language
    return [
        document_from_value(record, number, f"request, record {number}", language=language)
        for number, record in enumerate(records)
    ]


def _prompts(annotator: Annotator, document: Document) -> list[Prompted]:
    if document.status != "ok":
        return []
    try:
        asked = annotator.questions(document).prompted
    except Exception as error:
        internal_error(document, error)
        return []
    return [
        Prompted(
            task=question.key,
            types=[term.name for term in question.types],
            language=question.language,
            window=question.window.index,
            messages=question.messages,
        )
        for _, question, _ in asked
    ]


def accepted(header: str | None) -> str:
    """Choose the media type of the answer by an Accept header (RFC 9110, 12.5.1).

    Raises:
        Problem: 406, the header accepts none of the known media types.
    """
    known = ["application/json", *MEDIA_TYPES]
    liked: dict[str, tuple[float, int]] = {}
    for order, part in enumerate((header or "*/*").split(",")):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        stated = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        with suppress(ValueError):
            if float(stated) >= 0:  # this is false for `nan`
                liked.setdefault(media_range, (float(stated), -order))

    def quality(media_type: str) -> tuple[float, int]:
        """Return what the narrowest media range for this type states; at a tie the first wins."""
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        return next((liked[one] for one in ranges if one in liked), (0, 0))

    best = max(known, key=quality)
    if quality(best)[0] > 0:
        return best
    raise Problem(406, f"the service can answer with these media types: {', '.join(known)}")


def router(annotator: RequestAnnotator, config: ServeConfig, admission: Admission) -> APIRouter:
    """Make the routes `POST /v1/annotate` and `GET /v1/tasks`.

    Args:
        annotator: annotates the documents of a request.
        config: the settings of the service.
        admission: gives the slots.
    """
    routes = APIRouter(tags=["annotations"])
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody} for status in (401, 403, 406, 413, 422, 429, 503)
    }
    files = {
        media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES
    }

    @routes.post(
        "/v1/annotate",
        response_model=AnnotateResponse,
        responses={**problems, 200: {"content": files}},
        summary="Annotate a text or a list of documents",
    )
    async def annotate(request: AnnotateRequest, raw: Request) -> Response:
        """The response has a row for each document, as the corpus job writes it.

        If `Accept` names another media type, the response is a file of that format. If a document
        cannot be annotated, its row says why in `errors`; the other documents are annotated.
        """
        media_type = accepted(raw.headers.get("accept"))
        asked: Asked = raw.state.asked
        asked.caller.check_model(request.model or config.name)
        result = await annotator.annotate(request, asked, admission)
        asked.noted |= result.usage.model_dump()
        if media_type == "application/json":
            return await asyncio.to_thread(result.as_json)
        return await asyncio.to_thread(result.exported, media_type)

    @routes.get("/v1/tasks", summary="List the tasks, with an example of each")
    async def tasks() -> TaskList:
        """Each task has its options, an example, and the right answer to the example.

        The defaults are those of the model without an adapter.
        """
        return TaskList(tasks=described_to(await annotator.form()))

    return routes
