"""Parquet: one document a row, its columns named as the keys of JSON lines (json_lines.py).

Rows come a batch at a time, whatever the size of the row groups; a column of another type than
JSON has becomes text (dates in ISO 8601), bytes are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from taiyi_ray.formats import json_lines
from taiyi_ray.formats.format import MAX_RECORD_BYTES, Format, RawRecord

_BATCH: Final = 64


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the rows as JSON objects; behind a fault no more is found."""
    if not hasattr(stream, "seek"):
        yield RawRecord.broken("compressed", "Parquet in gzip: it is compressed inside, unpack it")
        return
    rows = 0
    try:
        with pq.ParquetFile(stream) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist(maps_as_pydicts="lossy"):
                    yield _record(row)
                    rows += 1
    except (pa.ArrowException, OSError) as error:
        yield RawRecord.broken("not_parquet", " ".join(f"not Parquet, or damaged: {error}".split()))
        return
    if not rows:
        yield RawRecord.broken("empty", "the file has no rows")


def _record(row: dict[str, Any]) -> RawRecord:
    text = json.dumps(_plain(row), ensure_ascii=False)
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_RECORD_BYTES:
        return RawRecord.broken("too_large", f"a row is larger than {MAX_RECORD_BYTES >> 20} MiB")
    return RawRecord("row", data)


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if value is None or isinstance(value, str | int):
        return value
    return None if isinstance(value, bytes) else str(value)


FORMAT = Format(
    "parquet",
    (".parquet",),
    scan,
    json_lines.parse,
    "a row: columns named as the keys of JSON lines, or by `--column`",
)
