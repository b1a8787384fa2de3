"""The work on the cluster: one Ray task reads documents, another makes and commits instructions."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taiyi_ray import catalogue, storage
from taiyi_ray.corpus.units import Unit, Units
from taiyi_ray.errors import StorageGone, TaiyiError
from taiyi_ray.instruct.instruction import SCHEMA, Tally, rows
from taiyi_ray.instruct.overlap import Index, text_hash
from taiyi_ray.instruct.plan import HELD_OUT, Part
from taiyi_ray.records import Document

FOOTER = b"taiyi_ray"
"""The key of a unit's footer in the metadata of its Parquet file."""


def read_units(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Read units of one split in one pass over it; yield a row for each unit, in their order.

    A row holds the documents of its unit, pickled, and the positions of those whose text and gold
    stood in the split before. If the split cannot be read, it has the reason as `error`.

    Args:
        row: `part` is a Part; `units` are the pending units of it, in order.
    """
    part = Part.model_validate_json(row["part"])
    units = [Unit.model_validate_json(one) for one in row["units"]]
    seen: set[int] = set()
    documents = iter(enumerate(catalogue.load(part.dataset, part.split, part.data_root)))
    error, gone = "", False
    for unit in units:
        mine: list[Document] = []
        again: list[int] = []
        try:
            while not error and (not mine or mine[-1].position < unit.last):
                position, document = next(documents)
                repeated = _is_known(document, seen)
                if position < unit.first:
                    continue
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
    known = hash((text_hash(document), repr(document.gold)))
    if known in seen:
        return True
    seen.add(known)
    return False


@lru_cache(1)
def _index(output: str) -> Index:
    data = storage.read(storage.join(output, HELD_OUT))
    assert data is not None, "the driver puts the index before it starts the work"
    return Index.from_bytes(data)
