"""What runs on the cluster: reading a unit (a task), annotating and committing it (an actor)."""

from __future__ import annotations

import asyncio
import io
import json
import os
import platform
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, NoReturn

import pyarrow as pa
from pydantic import SecretStr

from taiyi_ray.annotation import Annotated, Annotator, failed, guarded
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.output import Totals
from taiyi_ray.corpus.plan import PlannedSource, opened
from taiyi_ray.corpus.units import Unit
from taiyi_ray.engine.engine import Engine
from taiyi_ray.engine.start import NOT_STARTED, model_here, start, why_not_started
from taiyi_ray.errors import (
    ConfigError,
    EngineDied,
    ModelError,
    StorageError,
    StorageGone,
    TaiyiError,
)
from taiyi_ray.job.metrics import Metrics
from taiyi_ray.job.output import JobOutput
from taiyi_ray.records import (
    DOCUMENT_SCHEMA,
    Document,
    Failure,
    as_table,
    document_from_row,
    document_row,
)
from taiyi_ray.tasks.task import Assignment

COUNTED = ("documents", "failed", "prompt_tokens", "output_tokens")
"""What a receipt counts of its unit."""

_HOLD = 300.0
"""Seconds for which an actor without an engine keeps a unit, after the first that it answered."""

_DEATHS_ALONE = 2
"""A document that ends the engine so often while nothing else is in flight is a `failed` row."""


def unit_row(
    unit: Unit,
    source: PlannedSource,
    *,
    columns: Mapping[Any, str] | None = None,
    replaces: str = "",
) -> dict[str, Any]:
    """The row that stands for a pending unit at the head of the pipeline.

    Args:
        columns: what the source calls keys of a document (`--column`).
        replaces: tag of the unit's object, when it is to be done again.
    """
    return {
        "unit": unit.model_dump_json(),
        "source": unit.source,
        "planned": source.model_copy(update={"units": []}).model_dump_json(),
        "columns": json.dumps(dict(columns or {})),
        "replaces": replaces,
    }


def read_units(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Read units of one source, in their order and in one pass over it, a row for each.

    A unit's documents are one Arrow IPC binary, not one row a document: Ray would split a large
    table into blocks, and half a unit cannot be committed. What keeps a source from being read is
    handed on as `error`; `gone` tells that it may pass.

    Args:
        row: `units`, a list of what `unit_row` made.
    """
    units = [Unit.model_validate_json(one["unit"]) for one in row["units"]]
    planned = PlannedSource.model_validate_json(row["units"][0]["planned"])
    error, gone = "", False
    with ExitStack() as stack:
        found: Iterator[Document] = iter(())
        try:
            columns = json.loads(row["units"][0]["columns"])
            found = stack.enter_context(
                opened(planned, units[0].first, units[-1].last, columns=columns)
            )
        except (TaiyiError, OSError) as fault:
            error, gone = str(fault), isinstance(fault, StorageGone)
        for unit, one in zip(units, row["units"], strict=True):
            rows: list[dict[str, Any]] = []
            try:
                for document in found:
                    if document.position >= unit.first:
                        rows.append(document_row(document))
                    if document.position == unit.last:
                        break
            except (TaiyiError, OSError) as fault:
                error, gone = str(fault), isinstance(fault, StorageGone)
            if not error and len(rows) != unit.records:
                error = f"{planned.path}: holds {len(rows)} of {unit.records} planned records"
            yield {
                "unit": one["unit"],
                "replaces": one["replaces"],
                "documents": b"" if error else _binary(rows),
                "error": error,
                "gone": gone,
            }


def _binary(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, DOCUMENT_SCHEMA) as writer:
        writer.write_table(as_table(rows, DOCUMENT_SCHEMA, _unreadable))
    return buffer.getvalue()


def _unreadable(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """What stands for a document that Arrow cannot hold."""
    place = f"{row['source']}, record {row['position']}"
    failure = Failure("not_arrow", place, f"holds what no row can: {reason}")
    document = Document(None, status="failed", errors=[failure])
    document.source, document.position = row["source"], row["position"]
    return document_row(document)


def _documents(data: bytes) -> Iterator[Document]:
    for row in pa.ipc.open_stream(data).read_all().to_pylist():
        yield document_from_row(row)


class Turns:
    """Many units share the engine, or one has it alone."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._sharing = 0
        self._alone = False

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._sharing += 1
        try:
            yield
        finally:
            async with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone and self._sharing == 0)
            self._alone = True
        try:
            yield
        finally:
            async with self._changed:
                self._alone = False
                self._changed.notify_all()


class AnnotateUnits:
    """An actor with one engine: annotates units, several at a time, and commits each whole."""

    def __init__(
        self,
        config: AnnotateConfig,
        assignments: Sequence[Assignment],
        model_digest: str,
        run_id: str,
        fingerprint: str,
        key: SecretStr | None = None,
    ) -> None:
        self._engine: Engine | None = None
        self._no_engine, self._to_be_changed, self._said = "", False, False
        self._name = f"{platform.node()}:{os.getpid()}"
        self._ready = 0.0
        try:
            self._engine = start(config, model_here(config, model_digest), key)
        except Exception as error:
            # Raised here it would make Ray start actor after actor; as the answer to a unit it
            # tells the job the reason.
            self._no_engine = f"{NOT_STARTED} ({self._name}): {why_not_started(error)}"
            self._to_be_changed = isinstance(error, (ConfigError, ModelError))
            return
        self._ready = time.time()
        self._annotator = Annotator(self._engine, assignments, config.max_tokens)
        self._output = JobOutput(config.output)
        self._marks: dict[str, list[str]] | None = None
        """Listed once: an actor leaves marks only as its last deed, for those after it."""
        self._provenance = {"run_id": run_id, "fingerprint": fingerprint}
        self._turns = Turns()
        self._open: dict[str, tuple[Unit, str]] = {}
        """The units at work, and the tags of the objects that they are to replace."""
        self._single: int | None = None
        """Position of the one document at the engine while a suspect runs alone."""
        self._metrics = Metrics(
            self._annotator.in_flight, self._engine.most_in_flight, config.price
        )

    def __del__(self) -> None:
        # Ray drops the actor's object when it ends in good order: the engine's processes go along.
        if self._engine:
            self._engine.close()

    async def __call__(self, batch: pa.Table) -> AsyncIterator[dict[str, list[Any]]]:
        """Take a batch of one unit, commit it, and yield its receipt."""
        (row,) = batch.to_pylist()
        unit = Unit.model_validate_json(row["unit"])
        receipt: dict[str, Any] = dict.fromkeys(COUNTED, 0)
        error = self._no_engine or row["error"]
        gone, unwritten = row["gone"], False
        to_be_changed = self._to_be_changed if self._no_engine else bool(error) and not gone
        if self._no_engine and self._said:
            # Where other engines work, one that cannot must not take all their units.
            await asyncio.sleep(_HOLD)
        self._said = bool(self._no_engine)
        if not error:
            try:
                totals = await self._commit(unit, row["documents"], row["replaces"])
            except (TaiyiError, OSError) as fault:  # of output or server: documents' own are rows
                error, gone = str(fault), isinstance(fault, StorageGone)
                unwritten = isinstance(fault, StorageError) and not gone
                to_be_changed = unwritten or isinstance(fault, ConfigError)
            else:
                self._metrics.count(totals)
                receipt["documents"] = totals.documents.total()
                receipt["failed"] = totals.documents["failed"]
                for name in ("prompt_tokens", "output_tokens"):
                    receipt[name] = totals.tokens[name]
        receipt |= {"unit": unit.name, "ready": self._ready, "committed": time.time()}
        receipt |= {"error": " ".join(error.split()), "to_be_changed": to_be_changed}
        receipt |= {"no_engine": bool(self._no_engine), "gone": gone, "engine": self._name}
        receipt["unwritten"] = unwritten
        yield {name: [value] for name, value in receipt.items()}

    async def _commit(self, unit: Unit, data: bytes, replaces: str) -> Totals:
        self._open[unit.name] = (unit, replaces)
        try:
            rows = await self._rows(unit, list(_documents(data)), replaces)
            run_id = self._provenance["run_id"]
            committed = await asyncio.to_thread(
                self._output.commit, unit, rows, run_id, replaces=replaces
            )
        finally:
            del self._open[unit.name]
        return committed.totals

    async def _rows(self, unit: Unit, found: list[Document], replaces: str) -> list[dict[str, Any]]:
        kept: dict[int, dict[str, Any]] = {}
        if replaces:
            old = await asyncio.to_thread(self._output.rows, unit)
            kept = {r["position"]: r for r in old if r["status"] not in ("failed", "partial")}
        todo = [document for document in found if document.position not in kept]
        for annotated in await self._annotate(unit, todo, replaces):
            row = annotated.row(unit=unit.name, **self._provenance)
            kept[annotated.document.position] = row
        return [kept[position] for position in sorted(kept)]

    async def _annotate(self, unit: Unit, todo: list[Document], replaces: str) -> list[Annotated]:
        if self._marks is None:
            self._marks = await asyncio.to_thread(self._output.marks)
        marks = self._marks.get(unit.name, [])
        suspects, deaths = await asyncio.to_thread(self._output.died, marks, replaces)
        if not suspects:
            async with self._turns.shared():
                return list(await asyncio.gather(*map(self._one, todo)))
        async with self._turns.alone():
            calm = [d for d in todo if d.position not in suspects]
            done = list(await asyncio.gather(*map(self._one, calm)))
            for document in todo:
                if document.position not in suspects:
                    continue
                if deaths[document.position] >= _DEATHS_ALONE:
                    message = f"the engine died {deaths[document.position]} times on it alone"
                    done.append(failed(document, "engine_died", message))
                    continue
                self._single = document.position
                done.append(await self._one(document))
                self._single = None
            return done

    async def _one(self, document: Document) -> Annotated:
        try:
            return await guarded(self._annotator, document)
        except EngineDied:
            self._die()

    def _die(self) -> NoReturn:
        """Leave marks for what was in flight and end the process: Ray replaces the actor.

        An exception would be an application error to Ray, and the actor would stay with its dead
        engine; `ray.actor.exit_actor()` would count as wanted, and its tasks not be tried again.
        """
        try:
            for unit, replaces in self._open.values():
                positions = sorted(
                    position
                    for source, position in self._annotator.in_flight
                    if source == unit.source and unit.first <= position <= unit.last
                )
                if positions:
                    self._output.mark_died(
                        unit, positions, alone=positions == [self._single], replaces=replaces
                    )
        finally:
            os._exit(1)
