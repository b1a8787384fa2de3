"""Annotation from Python, in this process: one engine, no Ray.

    import taiyi_ray as ty

    rows = ty.annotate(["Aspirin eased pain."], tasks=["ner"], types=["chemical", "symptom"])

    with ty.annotator(types=["disease"], model="path/to/model") as disease:
        rows = disease.annotate(ty.read("pubmed.xml.gz"))

The engine lives in an asyncio loop in a thread of its own, so that it also works where a loop runs
already, as in Jupyter.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from taiyi_ray.annotation import Annotated, Annotator, guarded
from taiyi_ray.config import NotebookConfig, load
from taiyi_ray.engine.engine import Engine
from taiyi_ray.engine.prepare import Prepared, prepare
from taiyi_ray.engine.start import NOT_STARTED, start, why_not_started
from taiyi_ray.errors import ConfigError, EngineDied, ModelError, TaiyiError, Unfinished
from taiyi_ray.fingerprint import fingerprint, identity
from taiyi_ray.formats import document_from_value
from taiyi_ray.records import Document
from taiyi_ray.rows import Row, Rows
from taiyi_ray.tasks import assigned

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])

Given = str | Document | Mapping[str, Any]
"""A text, a Document, or a dictionary with the keys of a line of JSON lines."""

_LAST_WORDS = 5.0
"""Seconds that tasks which an engine left in the loop have to end, when the loop is closed."""


def _signed(function: Function) -> Function:
    """Put each setting into the function's signature, so that editors and notebooks complete it."""
    own = inspect.signature(function)
    settings = inspect.signature(NotebookConfig).parameters.values()
    given = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = own.replace(parameters=[*given, *settings])  # type: ignore[attr-defined]
    return function


# ------------------------------------------------------------------------------ what people call


@_signed
def annotate(documents: Given | Iterable[Given], **settings: Any) -> Rows:
    """Annotate texts or documents, and return a row for each, in order.

    Use:
        rows = annotate(["Aspirin eased pain."], tasks=["ner"], types=["chemical", "symptom"])
        rows[0].mentions

        rows = annotate(read("pubmed.xml.gz"), model="path/to/model")

    The engine starts for this call and ends with it. An engine with a real model takes about a
    minute to start: `annotator` keeps it for many calls.

    Args:
        documents: one or many, also mixed: texts, Documents (as `read` gives them), dictionaries
            with the keys of JSON lines (`text` or `passages`, `document_id` ...). Anything else,
            and a broken document, becomes a row with the status `failed` and the reason.
        **settings: as the options of `taiyi-ray annotate`: `tasks`, `types`, `relations`, `ask`,
            `task_file`, `model`, `adapter`, `chat`, `engine`, `url`, `engine_args`, `wording`,
            `grounding`, `scores`, `context_length`, `max_tokens`, `trust_remote_code`; and
            `options`, a dictionary by task of what a task file holds.

    Raises:
        ConfigError, ModelError, StorageError: an argument must be changed; one line says how.
        Unfinished: the engine died.
        ServerGone: the server that answers is gone.
    """
    with NotebookAnnotator(**settings) as opened:
        return opened.annotate(documents)


@_signed
async def annotate_async(documents: Given | Iterable[Given], **settings: Any) -> Rows:
    """Annotate as `annotate` does, without blocking the caller's event loop.

    Use:
        rows = await annotate_async(["Aspirin eased pain."], types=["chemical"])

    Args:
        documents: as for `annotate`.
        **settings: as for `annotate`.

    Raises:
        ConfigError, ModelError, StorageError, Unfinished, ServerGone: as `annotate`.
    """
    opened = await asyncio.to_thread(NotebookAnnotator, **settings)
    try:
        return await opened.annotate_async(documents)
    finally:
        await asyncio.to_thread(opened.close)


@_signed
def annotator(**settings: Any) -> NotebookAnnotator:
    """Start an engine, and keep it for many calls.

    Use:
        with annotator(types=["disease"], model="path/to/model") as disease:
            for text in texts:
                print(disease.annotate(text)[0].mentions)

    Without `with`, `close()` ends the engine; so does the end of the program.

    Args:
        **settings: as for `annotate`.

    Raises:
        ConfigError, ModelError, StorageError: an argument must be changed; one line says how.
    """
    return NotebookAnnotator(**settings)


class NotebookAnnotator:
    """Annotates in this process with an engine that it keeps until `close`.

    Args:
        **settings: as for `annotate`.

    Raises:
        ConfigError, ModelError, StorageError: as `annotate`.
    """

    def __init__(self, **settings: Any) -> None:
        config = load(NotebookConfig, None, settings)
        assignments, notes = assigned(config, config.options)
        for note in notes:
            warnings.warn(note, stacklevel=3)
        prepared = prepare(config)
        assignments = [assignment.in_form(prepared.form) for assignment in assignments]
        values = identity(prepared.config, assignments, prepared.answering.identity)
        self._fingerprint = fingerprint(values)
        self._kept = kept = _Kept()
        # The engine ends as well when nothing refers to this object, and when the program ends.
        self._end = weakref.finalize(self, kept.end)
        try:
            kept.start(prepared)
        except BaseException:
            self.close()
            raise
        assert kept.engine is not None
        kept.annotator = Annotator(kept.engine, assignments, config.max_tokens)

    def close(self) -> None:
        """End the engine; a second call does nothing."""
        self._end()

    def annotate(self, documents: Given | Iterable[Given]) -> Rows:
        """Annotate texts or documents, one or many; return a row for each, in order.

        Raises:
            ConfigError: this annotator was closed, or `documents` is a table or no documents.
            Unfinished: the engine died.
            ServerGone: the server that answers is gone.
        """
        return self._kept.loop.run(self._rows(self._open(), _documents(documents)))

    async def annotate_async(self, documents: Given | Iterable[Given]) -> Rows:
        """Annotate as `annotate` does, without blocking the caller's event loop.

        Raises:
            ConfigError, Unfinished, ServerGone: as `annotate`.
        """
        annotator = self._open()
        made = await asyncio.to_thread(_documents, documents)
        return await asyncio.wrap_future(self._kept.loop.submit(self._rows(annotator, made)))

    def _open(self) -> Annotator:
        if self._kept.annotator is None:
            raise ConfigError("this annotator was closed; start another with annotator(...)")
        return self._kept.annotator

    async def _rows(self, annotator: Annotator, documents: Iterable[Document]) -> Rows:
        tasks = [asyncio.ensure_future(guarded(annotator, one)) for one in documents]
        try:
            annotated = await asyncio.gather(*tasks)
        except EngineDied as error:
            raise Unfinished(
                f"the engine died while it answered ({error}); start another with annotator(...)"
            ) from error
        finally:
            for task in tasks:
                task.cancel()
        return await asyncio.to_thread(lambda: Rows(map(self._row, annotated)))

    def _row(self, annotated: Annotated) -> Row:
        return Row(annotated.row(unit="", run_id="", fingerprint=self._fingerprint))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _documents(given: Given | Iterable[Given]) -> list[Document]:
    """Make documents of what a caller gave; a broken one gets the status `failed`.

    Raises:
        ConfigError: a table was given (a loop over it would give its columns), or something that
            cannot hold documents.
    """
    if isinstance(given, str | Document | Mapping):
        given = [given]
    if len(getattr(given, "shape", ())) > 1:
        raise ConfigError(
            "a table was given; give a column of its texts, or its rows as dictionaries "
            "(frame.to_dict('records'), table.to_pylist())"
        )
    if not isinstance(given, Iterable):
        raise ConfigError(f"expected texts or documents, got {type(given).__name__}")
    return [_document(one, number) for number, one in enumerate(given)]


def _document(one: object, number: int) -> Document:
    if isinstance(one, Document):
        return one
    if isinstance(one, Mapping):  # a row of a data frame has NaN for a value that is missing
        one = {k: v for k, v in one.items() if not (isinstance(v, float) and math.isnan(v))}
    return document_from_value(one, number, f"documents[{number}]")


# ---------------------------------------------------------------------------------- the engine


class _Loop:
    """An asyncio loop in a thread of its own.

    Attributes:
        thread: that thread.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self.thread = threading.Thread(target=self._work, name="taiyi_ray", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._closed())

    async def _closed(self) -> None:
        await self._closing.wait()
        if rest := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(rest, timeout=_LAST_WORDS)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine in the loop; return its future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for it; an interrupt meanwhile cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._closing.set)
        if threading.current_thread() is not self.thread:
            self.thread.join()


class _Kept:
    """The loop, the engine and the annotator, which `NotebookAnnotator` keeps until its end.

    They must end before Python ends, because vLLM's engine uses its modules while it closes.
    """

    def __init__(self) -> None:
        self.loop = _Loop()
        self.engine: Engine | None = None
        self.annotator: Annotator | None = None

    def start(self, prepared: Prepared[NotebookConfig]) -> None:
        """Start an engine in the loop that it will live in.

        Raises:
            TaiyiError: the engine cannot be started.
        """
        model, key = prepared.answering.model, prepared.answering.key

        async def begin() -> None:
            try:
                self.engine = start(prepared.config, model, key)
            except TaiyiError:
                raise
            except Exception as error:
                raise ModelError(f"{NOT_STARTED}: {why_not_started(error)}") from error

        self.loop.run(begin())

    def end(self) -> None:
        """End the engine and the loop; a start that was interrupted is waited for first."""

        async def end() -> None:
            if self.engine is not None:
                self.engine.close()
            self.engine = self.annotator = None

        ending = self.loop.submit(end())
        if threading.current_thread() is not self.loop.thread:
            ending.result()
        self.loop.close()
