"""The token store: instructions as tokens, made once, and mapped into the memory of each worker.

Each Parquet file of instructions becomes one unit, a file of Arrow IPC below OUT/tokens/. A unit
says of what it was made, so that one of an older file is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taiyi_ray import cache, models, storage
from taiyi_ray.config import STAGE_FOLDERS
from taiyi_ray.errors import ConfigError, first_line
from taiyi_ray.train.order import Order
from taiyi_ray.train.packing import TokenRecord

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

COLUMNS = ("messages", "dataset", "task", "group")
"""The columns of an output of `build-instructions` that training reads."""

SCHEMA = pa.schema(
    [
        pa.field("ids", pa.list_(pa.int32()), nullable=False),
        pa.field("starts", pa.list_(pa.int32()), nullable=False),
        pa.field("ends", pa.list_(pa.int32()), nullable=False),
        pa.field("task", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("dataset", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("group", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    ]
)
"""A record: its token ids, the spans of its answers, and what its losses are summed by."""

_ABOUT = b"taiyi_ray"
"""The key of a unit's own description in the metadata of its schema."""

_READERS = 16
"""Files whose footers are read at the same time."""

UNSPELLABLE = "no conversation that the chat form allows"
TOO_LONG = "longer than row_tokens"


@dataclass(frozen=True, slots=True)
class Unit:
    """One file of the store.

    Attributes:
        name: the name of its Parquet file, below the data folder.
        path: its address.
        records: the number of its records.
        digest: the digest of what it holds.
        left_out: how many instructions were left out, by reason.
    """

    name: str
    path: str
    records: int
    digest: str
    left_out: dict[str, int]


def files(data: str, folders: Iterable[str]) -> list[storage.Stored]:
    """Return the Parquet files of instructions below some folders of an output.

    The tasks of some corpora all belong to one stage: the folder of the other one is missing then,
    and a stage that trains on both has the one.

    Raises:
        ConfigError: there are none, or a folder is missing that is not one of a stage.
    """
    if storage.exists(data) and not storage.is_folder(data):
        raise ConfigError(f"{data}: is a file; `data` is a folder that build-instructions wrote")
    found = {
        folder: [
            stored
            for stored in storage.walk(storage.join(data, folder))
            if stored.path.endswith(".parquet")
        ]
        for folder in folders
    }
    missing = [folder for folder in found if not found[folder]]
    if missing and (len(missing) == len(found) or not set(missing) <= set(STAGE_FOLDERS)):
        raise ConfigError(
            f"{storage.join(data, missing[0])}: holds no Parquet file; `data` is a folder that "
            "build-instructions wrote"
        )
    return [stored for below in found.values() for stored in below]


def check(data: str, folders: Iterable[str]) -> None:
    """Check that some folders hold instructions, by the footers of their files alone.

    Args:
        data: the output of build-instructions.
        folders: the folders below it.

    Raises:
        ConfigError: a folder has no instructions, or a file lacks a column or is damaged.
    """

    def look(path: str) -> None:
        with storage.open_read(path) as file:
            _parquet(path, file)

    with ThreadPoolExecutor(_READERS) as readers:
        list(readers.map(look, [source.path for source in files(data, folders)]))


def build(
    data: str,
    folders: Sequence[str],
    tokens: str,
    tokenizer: PreTrainedTokenizerBase,
    form: models.ChatForm,
    tell: Callable[[int, int], object] = lambda _, __: None,
) -> list[Unit]:
    """Tokenise the instructions of some folders, where that was not done before.

    Args:
        data: the output of build-instructions.
        folders: the folders below it.
        tokens: the folder of the units, which is for this tokenizer and chat form alone.
        tokenizer: the tokenizer.
        form: the chat form.
        tell: is told of each file that is done: how many are, and how many there are.

    Raises:
        ConfigError: a folder has no instructions, or a file lacks a column.
    """
    sources = files(data, folders)
    names = [source.path.removeprefix(storage.join(data, "")) for source in sources]
    paths = [storage.join(tokens, f"{name.removesuffix('.parquet')}.arrow") for name in names]
    with ThreadPoolExecutor(_READERS) as readers:
        abouts = list(readers.map(_about, paths))
    made = []
    for source, name, path, about in zip(sources, names, paths, abouts, strict=True):
        if about is None or about["source"] != [source.size, source.tag]:
            unit = _tokenised(source, name, tokenizer, form)
            storage.replace(path, unit)
            about = _read_about(pa.BufferReader(unit))
        made.append(Unit(name, path, about["records"], about["digest"], about["left_out"]))
        tell(len(made), len(sources))
    return made


def _about(path: str) -> dict[str, Any] | None:
    """What an existing unit says of itself."""
    if not storage.exists(path):
        return None
    with storage.open_read(path) as file:
        return _read_about(file)


def _read_about(file: Any) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(ipc.open_file(file).schema.metadata[_ABOUT])
    return about


def _tokenised(
    source: storage.Stored,
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    form: models.ChatForm,
) -> bytes:
    rows: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    for number, row in enumerate(_instructions(source.path)):
        try:
            spelled = models.conversation_tokens(tokenizer, _turns(row["messages"]), form)
        except ValueError as error:
            logger.info("%s: an instruction is left out (%s)", source.path, error)
            left_out[UNSPELLABLE] += 1
            continue
        for one in spelled:
            starts, ends = zip(*one.answers, strict=True)
            kept = {key: str(row[key] or "") for key in ("dataset", "task")}
            # One without a group is alone. The data may be moved, so the group has no address.
            group = str(row["group"] or f"{name} {number}")
            rows.append({"ids": one.ids, "starts": starts, "ends": ends, "group": group, **kept})
    table = pa.Table.from_pylist(rows, SCHEMA)
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    about = {
        "source": [source.size, source.tag],
        "records": len(rows),
        "digest": digest,
        "left_out": dict(left_out),
    }
    table = table.replace_schema_metadata({_ABOUT: json.dumps(about)})
    written = io.BytesIO()
    with ipc.new_file(written, table.schema) as file:
        file.write_table(table.combine_chunks(), max_chunksize=max(1, len(rows)))
    return written.getvalue()


def _turns(messages: Any) -> Any:
    """The turns of an instruction, each with a role and a text."""
    for turn in messages or []:
        if not (turn and isinstance(turn["role"], str) and isinstance(turn["content"], str)):
            raise ValueError("a turn has no role or no text")
    return messages or []


def _instructions(path: str) -> Iterator[dict[str, Any]]:
    with storage.open_read(path) as file:
        parquet = _parquet(path, file)
        try:
            for batch in parquet.iter_batches(1024, columns=list(COLUMNS), use_threads=False):
                yield from batch.to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise ConfigError(
                f"{path}: is damaged ({first_line(error)}); build the instructions again"
            ) from error


def _parquet(path: str, file: Any) -> pq.ParquetFile:
    """Open a file of instructions, and check its columns."""
    try:
        parquet = pq.ParquetFile(file, pre_buffer=False)  # see `storage.read_table`
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{path}: is no Parquet file ({error})") from error
    if missing := [name for name in COLUMNS if name not in parquet.schema_arrow.names]:
        raise ConfigError(
            f"{path}: has no column {missing[0]!r}; `data` is a folder that "
            "build-instructions wrote"
        )
    if not _is_conversation(parquet.schema_arrow.field("messages").type):
        raise ConfigError(f"{path}: the column 'messages' is no list of `role` and `content`")
    return parquet


def _is_conversation(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    turn = kind.value_type
    names = {field.name for field in turn} if pa.types.is_struct(turn) else set()
    return {"role", "content"} <= names


@dataclass(frozen=True, slots=True)
class _Mapped:
    """The arrays of a unit, in the memory that its file is mapped to."""

    ids: NDArray[np.int32]
    borders: NDArray[np.int32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    answers: NDArray[np.int32]
    kinds: NDArray[np.int64]
    groups: NDArray[np.int64]


class TokenStore:
    """The records of some units.

    Args:
        units: the units.
        row_tokens: records with more tokens are left out, and counted.
        kinds: numbers of tasks and datasets that another store has given already.

    Attributes:
        kinds: the `TokenRecord.kind` of each task and dataset.
        left_out: how many instructions are left out, by reason.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        row_tokens: int,
        kinds: dict[tuple[str, str], int] | None = None,
    ) -> None:
        self.kinds = {} if kinds is None else kinds
        self.left_out: Counter[str] = Counter()
        self._units: list[_Mapped] = []
        unit_of, place, group, lengths = [], [], [], []
        groups: dict[str, int] = {}
        for number, unit in enumerate(units):
            self.left_out.update(unit.left_out)
            mapped = _mapped(unit, self.kinds, groups)
            self._units.append(mapped)
            unit_of.append(np.full(unit.records, number))
            place.append(np.arange(unit.records))
            group.append(mapped.groups)
            lengths.append(np.diff(mapped.borders))
        lengths_of_all = np.concatenate(lengths) if lengths else np.empty(0, np.int64)
        fits = lengths_of_all <= row_tokens
        if too_long := int((~fits).sum()):
            self.left_out[TOO_LONG] += too_long
        self.lengths = lengths_of_all[fits]
        """The tokens of each record."""
        self._unit_of = np.concatenate(unit_of)[fits] if lengths else np.empty(0, np.int64)
        self._place = np.concatenate(place)[fits] if lengths else np.empty(0, np.int64)
        self._group = np.concatenate(group)[fits] if lengths else np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._place)

    def record(self, number: int) -> TokenRecord:
        """Return a record; its arrays are copies of 64 bits."""
        unit = self._units[self._unit_of[number]]
        place = self._place[number]
        first, last = unit.answers[place], unit.answers[place + 1]
        spans = zip(unit.starts[first:last].tolist(), unit.ends[first:last].tolist(), strict=True)
        return TokenRecord(
            unit.ids[unit.borders[place] : unit.borders[place + 1]].astype(np.int64),
            tuple(spans),
            int(unit.kinds[place]),
            int(self._group[number]),
        )

    def order(self, batch: int, seed: int, stage: int) -> Order:
        """Return the order in which a stage takes the records.

        Args:
            batch: records of a step.
            seed: the seed of the run.
            stage: the number of the stage, from 0.
        """
        members = np.argsort(self._group, kind="stable")
        borders = np.flatnonzero(np.diff(self._group[members], prepend=-1, append=-1))
        return Order(members, borders, batch, seed, stage)


def _mapped(unit: Unit, kinds: dict[tuple[str, str], int], groups: dict[str, int]) -> _Mapped:
    """Map a unit into memory; kinds and groups get numbers that hold for all units."""
    path = unit.path
    if not storage.is_local(path):
        path = str(_fetched(unit))
    with pa.memory_map(path) as file:
        _check_unchanged(unit, file)
        table = ipc.open_file(file).read_all()
    if not unit.records:
        none, zero = np.empty(0, np.int32), np.zeros(1, np.int32)
        return _Mapped(none, zero, none, none, zero, none.astype(np.int64), none.astype(np.int64))
    (ids,), (starts,), (ends,) = (table[n].chunks for n in ("ids", "starts", "ends"))
    tasks, datasets, named = (table[n].chunk(0) for n in ("task", "dataset", "group"))
    pairs = list(zip(tasks.to_pylist(), datasets.to_pylist(), strict=True))
    for pair in dict.fromkeys(pairs):
        kinds.setdefault(pair, len(kinds))
    known = [groups.setdefault(name, len(groups)) for name in named.dictionary.to_pylist()]
    return _Mapped(
        ids.values.to_numpy(),
        ids.offsets.to_numpy(),
        starts.values.to_numpy(),
        ends.values.to_numpy(),
        starts.offsets.to_numpy(),
        np.array([kinds[pair] for pair in pairs], np.int64),
        np.array(known, np.int64)[named.indices.to_numpy()],
    )


def _check_unchanged(unit: Unit, file: Any) -> None:
    """Check that a file still holds what the run began with.

    Workers may be started again long after; meanwhile a run with other data may have been tried.
    """
    if _read_about(file)["digest"] != unit.digest:
        raise ConfigError(
            f"{unit.path}: was made again from other instructions; give the data as it was, and "
            "run the same command again"
        )


def _fetched(unit: Unit) -> Path:
    """A unit of a remote store as a file of this machine, fetched once."""

    def fetch(folder: Path) -> None:
        data = storage.read(unit.path)
        if data is None:
            raise ConfigError(f"{unit.path}: is gone; run the same command again")
        _check_unchanged(unit, pa.BufferReader(data))
        (folder / "unit.arrow").write_bytes(data)

    name = hashlib.sha256(f"{unit.path} {unit.digest}".encode()).hexdigest()[:32]
    return cache.made_once(cache.folder() / "tokens" / name, fetch) / "unit.arrow"
