"""The work on the cluster: one Ray task reads documents, another makes and commits instructions."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from taiyi_ray import catalogue, storage
from taiyi_ray.catalogue.entry import SPLITS, Split
from taiyi_ray.corpus.units import Unit, Units
from taiyi_ray.errors import StorageGone, TaiyiError
from taiyi_ray.instruct.draws import Draws
from taiyi_ray.instruct.instruction import SCHEMA, Tally, rows
from taiyi_ray.instruct.overlap import Compared, HeldOut, Index
from taiyi_ray.instruct.plan import Part, assignments_of
from taiyi_ray.models.trained import Trained, document_keys, text_hash
from taiyi_ray.records import Document

FOOTER = b"taiyi_ray"
"""The key of a unit's footer in the metadata of its Parquet file."""

ENDING = ".parquet"


def read_held_out(dataset: str, split: Split, data_root: str) -> list[tuple[HeldOut, Compared]]:
    """Read a split that nothing trains on: what is compared of each of its documents.

    Args:
        dataset, split: the split.
        data_root: the address of the folder of the corpora.
    """
    entry = catalogue.entry(dataset)
    return [
        (HeldOut(dataset, entry.pmid_of(document.document_id)), Compared.of_test(document))
        for document in catalogue.load(entry, split, data_root=data_root)
        if document.status == "ok"
    ]


def read_units(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Read units of one part in one pass over its split; yield a row for each unit, in their order.

    A row holds the documents of its unit, pickled, and the positions of those whose text and gold
    stood in the split before. If the split cannot be read, it has the reason as `error`.

    Args:
        row: `part` is a Part, and `data_root` the address of the folder of the corpora; `units` are
            the pending units of the part, in order.
    """
    part = Part.model_validate_json(row["part"])
    units = [Unit.model_validate_json(one) for one in row["units"]]
    seen: set[int] = set()
    documents = enumerate(catalogue.load(part.dataset, part.split, data_root=row["data_root"]))
    error, gone = "", False
    for unit in units:
        mine: list[Document] = []
        again: list[int] = []
        try:
            while not error and (not mine or mine[-1].position < unit.last):
                position, document = next(documents)
                repeated = _is_known(document, seen)
                if position >= unit.first:
                    document.position = position
                    mine.append(document)
                    if repeated:
                        again.append(position)
        except StopIteration:
            error = f"{part.dataset}: has fewer documents in {part.split} than when it was planned"
        except (TaiyiError, OSError) as fault:
            error, gone = str(fault), isinstance(fault, StorageGone)
        yield {
            "part": row["part"],
            "unit": unit.model_dump_json(),
            "documents": b"" if error else pickle.dumps((mine, again)),
            "error": error,
            "gone": gone,
        }


def _is_known(document: Document, seen: set[int]) -> bool:
    """Whether the same text with the same gold was seen; the document counts as seen from now."""
    this = hash((text_hash(document), repr(document.gold)))
    known = this in seen
    seen.add(this)
    return known


def make_unit(
    batch: dict[str, Any],
    *,
    output: str,
    seed: int,
    overlap: float,
    held_out: str,
    trained: str,
) -> dict[str, list[Any]]:
    """Make the instructions of one unit, and commit it whole.

    Args:
        batch: one row of `read_units`, each column a list of one value.
        output: the address of the output.
        seed: the seed of all draws.
        overlap: the share of a test document's n-grams that takes a training document out.
        held_out: the name of the file with the index of the held-out splits.
        trained: the name of the file that says what the splits that train hold.

    Returns:
        Its receipt: `documents`, `error` (empty if the unit is committed) and `gone` (a storage did
        not answer).
    """
    row = {name: column[0] for name, column in batch.items()}
    unit = Unit.model_validate_json(row["unit"])
    error, gone, tally = str(row["error"]), bool(row["gone"]), Tally()
    if not error:
        part = Part.model_validate_json(row["part"])
        try:
            documents, again = pickle.loads(row["documents"])
            compare = _Compare(
                _index(storage.join(output, held_out)),
                _trained(storage.join(output, trained)),
                overlap,
            )
            chosen = _chosen(part, documents, set(again), seed, compare, tally)
            used: list[int] = []
            made = list(_rows(part, chosen, seed, tally, used))
            Units(output, ENDING).commit(unit, _file(unit, made, tally, used))
        except (TaiyiError, OSError) as fault:
            error, gone = str(fault), isinstance(fault, StorageGone)
    return {"documents": [unit.records], "error": [error], "gone": [gone]}


class _Compare(NamedTuple):
    """What documents are compared with.

    Attributes:
        tests: the test sets.
        trained: the splits that train.
        share: the share of a test document's n-grams that takes a training document out.
    """

    tests: Index
    trained: Trained
    share: float


def _file(unit: Unit, made: list[dict[str, Any]], tally: Tally, used: list[int]) -> bytes:
    footer = {"unit": unit.name, "tally": tally.as_dict(), "used": used}
    table = pa.Table.from_pylist(made, SCHEMA).replace_schema_metadata(
        {FOOTER: json.dumps(footer, ensure_ascii=False)}
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _chosen(
    part: Part,
    documents: Iterable[Document],
    again: Collection[int],
    seed: int,
    compare: _Compare,
    tally: Tally,
) -> Iterator[Document]:
    """Yield the documents of a part that may train or be held out; count why others may not."""
    entry = catalogue.entry(part.dataset)
    for document in documents:
        if part.holds != "all":
            draws = Draws(seed, (part.dataset, part.split, document.position))
            if (draws.uniform("dev") < part.dev_share) != (part.holds == "dev"):
                continue
        tally.documents += 1
        repeated = document.position in again or _trains_before(part, document, compare.trained)
        reason = "duplicate" if repeated else _fault(document)
        if reason is None:
            pmid = entry.pmid_of(document.document_id)
            found = compare.tests.overlap(document, pmid, compare.share)
            trains = _trains(part, document, pmid, compare.trained)
            if found is None and not trains:
                yield document
                continue
            if found is not None:
                tally.overlaps[f"{found.kind} in {found.dataset}"] += 1
            reason = "in a test set" if found else f"in the training set of {trains}"
        tally.rejected[reason] += 1


def _trains_before(part: Part, document: Document, trained: Trained) -> bool:
    """Whether a document that is to train has the text of one in a split before its own."""
    before = {f"{part.dataset}/{split}" for split in SPLITS[: SPLITS.index(part.split)]}
    if part.holds == "dev" or not before:
        return False
    return not before.isdisjoint(trained.having([text_hash(document)]))


def _trains(part: Part, document: Document, pmid: str | None, trained: Trained) -> str:
    """The first dataset that trains on a document which is to be held out; empty if none does."""
    if part.holds != "dev":
        return ""
    own = f"{part.dataset}/{part.split}"  # where it is held out, it is not trained
    others = trained.having(document_keys(document, pmid)) - {own}
    return min(others, default="").partition("/")[0]


def _fault(document: Document) -> str | None:
    """Why nothing can be learnt from a document; None for a good one."""
    if document.status != "ok":
        kinds = [failure.kind for failure in document.errors]
        return f"broken record: {kinds[0]}" if kinds else document.status
    text = document.text
    if not text.strip():
        return "empty"
    for mention in document.gold.mentions:
        exact = mention.grounded == "exact" and not mention.spans and mention.start is not None
        if exact and text[mention.start : mention.end] != mention.text:
            return "a mention is not at its offsets"
    return None


def _rows(
    part: Part, documents: Iterable[Document], seed: int, tally: Tally, used: list[int]
) -> Iterator[dict[str, Any]]:
    """Yield the instructions of documents; note the keys of those that have some in `used`."""
    entry = catalogue.entry(part.dataset)
    assignments = assignments_of(entry, tuple(part.mixes), part.options)
    for document in documents:
        made, rejected = tally.instructions.total(), tally.rejected.total()
        for assignment in assignments:
            yield from rows(
                document,
                assignment,
                part.mixes[assignment.task.name],
                dataset=part.dataset,
                split=part.split,
                seed=seed,
                tally=tally,
            )
        if tally.instructions.total() > made:
            tally.used += 1
            used += document_keys(document, entry.pmid_of(document.document_id))
        elif tally.rejected.total() == rejected:
            tally.not_drawn += 1


@lru_cache(1)
def _index(address: str) -> Index:
    return Index.from_bytes(_kept(address))


@lru_cache(1)
def _trained(address: str) -> Trained:
    return Trained.from_bytes(_kept(address))


def _kept(address: str) -> bytes:
    data = storage.read(address)
    assert data is not None, f"the driver puts {address} before it starts the work"
    return data
