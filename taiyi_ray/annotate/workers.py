"""What runs on the cluster: reading a unit (a task), annotating and committing it (an actor)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
from pydantic import SecretStr

from taiyi_ray import storage
from taiyi_ray.annotate.output import Output
from taiyi_ray.annotate.plan import PlannedSource, Unit
from taiyi_ray.annotate.sources import check_unchanged
from taiyi_ray.annotator import Annotated, Annotator, failed
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.engine import Engine, engine_of
from taiyi_ray.errors import ConfigError, EngineDied, ModelError, ServerGone, TaiyiError
from taiyi_ray.formats import documents, named
from taiyi_ray.records import DOCUMENT_SCHEMA, Document, document_from_row, document_row
from taiyi_ray.tasks import select
from taiyi_ray.tasks.task import Options

_log = logging.getLogger(__name__)

COUNTED = ("documents", "failed", "prompt_tokens", "output_tokens")
"""What a receipt counts of its unit."""

_LOG_TAIL = 50_000

_DEATHS_ALONE = 2
"""A document that ends the engine so often while nothing else is in flight is a `failed` row."""


def unit_row(
    unit: Unit,
    source: PlannedSource,
    *,
    again: bool,
    columns: Mapping[Any, str] | None = None,
) -> dict[str, Any]:
    """The row that stands for a pending unit at the head of the pipeline.

    `columns` are what the source calls keys of a document (`--column`).
    """
    return {
        "unit": unit.model_dump_json(),
        "format": source.format,
        "columns": json.dumps(dict(columns or {})),
        "size": source.size,
        "tag": source.tag,
        "sha256": source.sha256,
        "again": again,
    }


def read_unit(row: dict[str, Any]) -> dict[str, Any]:
    """Read a unit's documents into one Arrow IPC binary.

    One binary, not one row a document: Ray would split a large table into blocks, and half a unit
    cannot be committed. What keeps a source from being read is handed on as `error`.
    """
    unit = Unit.model_validate_json(row["unit"])
    read: dict[str, Any] = {
        "unit": row["unit"],
        "again": row["again"],
        "documents": b"",
        "error": "",
    }
    try:
        check_unchanged(storage.stat(unit.path), row["size"], row["tag"], row["sha256"])
        with storage.open_read(unit.path) as stream:
            found = documents(
                stream,
                unit.path,
                named(row["format"]),
                unit.source,
                unit.first,
                unit.last,
                read=storage.read,
                columns=json.loads(row["columns"]),
            )
            rows = [document_row(document) for document in found]
        if len(rows) != unit.records:
            read["error"] = f"{unit.path}: holds {len(rows)} of {unit.records} planned records"
            return read
        buffer = io.BytesIO()
        table = pa.Table.from_pylist(rows, DOCUMENT_SCHEMA)
        with pa.ipc.new_stream(buffer, DOCUMENT_SCHEMA) as writer:
            writer.write_table(table)
        read["documents"] = buffer.getvalue()
    except (TaiyiError, OSError) as error:
        read["error"] = str(error)
    return read


def _documents(data: bytes) -> Iterator[Document]:
    for row in pa.ipc.open_stream(data).read_all().to_pylist():
        yield document_from_row(row)


def _logged_error() -> str:
    """The last exception in this process's log: vLLM names its cause only there, in a child."""
    try:
        log = Path("/proc/self/fd/2").resolve(strict=True)
        if not log.is_file():  # a terminal, which would be waited for
            return ""
        lines = log.read_text(errors="replace")[-_LOG_TAIL:].splitlines()
    except OSError:
        return ""
    named = [line for line in lines if re.search(r"\b\w+(Error|Exception): ", line)]
    causes = [line for line in named if "Engine core initialization failed" not in line]
    return re.sub(r"^.*?(?=\b\w+(Error|Exception): )", "", causes[-1]) if causes else ""


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
        options: Options,
        model_path: str | None,
        run_id: str,
        fingerprint: str,
        key: SecretStr | None = None,
    ) -> None:
        self._engine: Engine | None = None
        self._no_engine, self._to_be_changed = "", False
        self._ready = 0.0
        try:
            self._engine = engine_of(config, model_path, key)
        except Exception as error:
            # Raised here it would make Ray start actor after actor; as the answer to every unit it
            # ends the job at once, with this reason.
            why = error if isinstance(error, TaiyiError) else _logged_error() or error
            self._no_engine = f"no engine could be started: {why}"
            self._to_be_changed = isinstance(error, (ConfigError, ModelError))
            return
        self._ready = time.time()
        self._annotator = Annotator(self._engine, select(config.tasks), options, config.max_tokens)
        self._output = Output(config.output)
        self._provenance = {"run_id": run_id, "fingerprint": fingerprint}
        self._turns = Turns()
        self._open: dict[str, Unit] = {}
        self._single: int | None = None
        """Position of the one document at the engine while a suspect runs alone."""

    def __del__(self) -> None:
        # Ray drops the actor's object when it ends in good order: the engine's processes go along.
        if self._engine:
            self._engine.close()

    async def __call__(self, batch: pa.Table) -> AsyncIterator[dict[str, list[Any]]]:
        """Take a batch of one unit, commit it, and yield its receipt."""
        (row,) = batch.to_pylist()
        unit = Unit.model_validate_json(row["unit"])
        receipt: dict[str, Any] = dict.fromkeys(COUNTED, 0)
        error, to_be_changed = self._no_engine or row["error"], self._to_be_changed
        if not error:
            try:
                rows = await self._commit(unit, row["documents"], again=row["again"])
            except (TaiyiError, OSError) as fault:  # of output or server: documents' own are rows
                error, to_be_changed = str(fault), isinstance(fault, ConfigError)
            else:
                receipt["documents"] = len(rows)
                receipt["failed"] = sum(r["status"] == "failed" for r in rows)
                for name in ("prompt_tokens", "output_tokens"):
                    receipt[name] = sum(a[name] for r in rows for a in r["answers"])
        receipt |= {"unit": unit.name, "ready": self._ready, "committed": time.time()}
        receipt |= {"error": " ".join(error.split()), "to_be_changed": to_be_changed}
        yield {name: [value] for name, value in receipt.items()}

    async def _commit(self, unit: Unit, data: bytes, *, again: bool) -> list[dict[str, Any]]:
        self._open[unit.name] = unit
        try:
            rows = await self._rows(unit, list(_documents(data)), again=again)
            run_id = self._provenance["run_id"]
            await asyncio.to_thread(self._output.commit, unit, rows, run_id, again=again)
        finally:
            del self._open[unit.name]
        return rows

    async def _rows(
        self, unit: Unit, found: list[Document], *, again: bool
    ) -> list[dict[str, Any]]:
        kept: dict[int, dict[str, Any]] = {}
        if again:
            old = await asyncio.to_thread(self._output.rows, unit)
            kept = {r["position"]: r for r in old if r["status"] not in ("failed", "partial")}
        todo = [document for document in found if document.position not in kept]
        for annotated in await self._annotate(unit, todo):
            row = annotated.row(unit=unit.name, **self._provenance)
            kept[annotated.document.position] = row
        return [kept[position] for position in sorted(kept)]

    async def _annotate(self, unit: Unit, todo: list[Document]) -> list[Annotated]:
        suspects, deaths = await asyncio.to_thread(self._output.died, unit)
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
            return await self._annotator.annotate(document)
        except EngineDied:
            self._die()
        except (ConfigError, ServerGone):
            raise  # no document is to blame: the unit is left to another run
        except Exception as error:
            _log.exception("document %s of %s", document.position, document.source)
            return failed(document, "internal_error", f"{type(error).__name__}: {error}")

    def _die(self) -> NoReturn:
        """Leave marks for what was in flight and end the process: Ray replaces the actor.

        An exception would be an application error to Ray, and the actor would stay with its dead
        engine; `ray.actor.exit_actor()` would count as wanted, and its tasks not be tried again.
        """
        for unit in self._open.values():
            positions = sorted(
                position
                for source, position in self._annotator.in_flight
                if source == unit.source and unit.first <= position <= unit.last
            )
            if positions:
                self._output.mark_died(unit, positions, alone=positions == [self._single])
        os._exit(1)
