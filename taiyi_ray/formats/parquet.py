"""Parquet: one document a row, its columns named as the keys of JSON lines (json_lines.py).

Rows come a batch at a time, whatever the size of the row groups; a column of another type than
JSON has becomes text (dates in ISO 8601), bytes are left out.

Parquet can say in a few bytes that a long value comes again and again, so what a batch may come to
is worked out from the file's own account before anything is read
(https://parquet.apache.org/docs/file-format/).
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import json_lines
from taiyi_ray.formats.format import MAX_RECORD_BYTES, Format, RawRecord

_BATCH: Final = 64
_BATCH_BYTES: Final = 8 * MAX_RECORD_BYTES
"""What a batch may come to; a row alone may be as large, before it is refused."""

_COLUMN_BYTES: Final = 4 * MAX_RECORD_BYTES
_RATIO: Final = 100
"""A column of a row group that is larger than _COLUMN_BYTES must not be packed more than so much:
it may be one value, and text is packed ten times at most."""

_VALUES: Final = 1 << 20
"""A column of a row group may have so many values, or as many as the file has bytes. (In a few
bytes there can be 2**31 of nothing.)"""


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the rows as JSON objects; behind a fault no more is found."""
    if not hasattr(stream, "seek"):
        yield RawRecord.broken("compressed", "Parquet in gzip: it is compressed inside, unpack it")
        return
    rows = 0
    try:
        with pq.ParquetFile(stream) as file:
            for batch in _batches(file, stream):
                for record in _records(batch):
                    yield record
                    rows += 1
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the place, not of Arrow
        yield RawRecord.broken("not_parquet", " ".join(f"not Parquet, or damaged: {error}".split()))
        return
    if not rows:
        yield RawRecord.broken("empty", "the file has no rows")


def _batches(file: pq.ParquetFile, stream: BinaryIO) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of at most _BATCH_BYTES, or of one row.

    Raises:
        FormatError: `too_large`, a column that could fill the memory by itself.
    """
    size = stream.seek(0, io.SEEK_END)
    # Bytes are left out: they need not be read.
    binary = {f.name for f in file.schema_arrow if _is_binary(f.type)}
    columns = [name for name in file.schema_arrow.names if name not in binary] or None
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        row = 1
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema not in binary:
                row += _largest_value(column, stream, size)
        rows = max(1, min(_BATCH, _BATCH_BYTES // row))
        yield from file.iter_batches(rows, row_groups=[number], columns=columns)


def _is_binary(type_: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(test(type_) for test in tests)


def _largest_value(column: pq.ColumnChunkMetaData, stream: BinaryIO, size: int) -> int:
    """What one of a column's values can come to beyond what its pages hold."""
    name, unpacked = column.path_in_schema, column.total_uncompressed_size
    packed = column.total_compressed_size
    if unpacked > max(_COLUMN_BYTES, _RATIO * packed):
        message = f"column {name!r} is {unpacked:,} bytes, packed in {packed:,}"
        raise FormatError("too_large", message)
    if column.num_values > max(_VALUES, size):
        message = f"column {name!r} has {column.num_values:,} values in a file of {size:,} bytes"
        raise FormatError("too_large", message)
    if column.physical_type not in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"):
        return 0
    if "DELTA_BYTE_ARRAY" in column.encodings:  # each value may repeat all of the one before
        return int(unpacked)
    return _dictionary_size(column, stream) if column.has_dictionary_page else 0


def _dictionary_size(column: pq.ColumnChunkMetaData, stream: BinaryIO) -> int:
    """The bytes of a column's dictionary, as its page says.

    A page begins with a Thrift structure in the compact protocol, whose first two fields are whole
    numbers: the page's type and its size when unpacked.
    """
    stream.seek(column.dictionary_page_offset or 0)
    head = iter(stream.read(16))
    number = 0
    for _ in range(2):
        if next(head, 0) != 0x15:  # the next field, a number of 32 bits
            return int(column.total_uncompressed_size)
        number = shift = 0
        for byte in head:
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
    return number >> 1  # zigzag


def _records(batch: pa.RecordBatch) -> Iterator[RawRecord]:
    """Yield the rows of a batch; one with a value that Python does not know fails alone."""
    if len(batch) > 1 and batch.nbytes <= _BATCH_BYTES:
        try:
            rows = batch.to_pylist(maps_as_pydicts="lossy")
        except (ValueError, OverflowError):  # a date, or bytes that are not UTF-8: of which row?
            pass
        else:
            yield from map(_record, rows)
            return
    for number in range(len(batch)):
        row = batch.slice(number, 1)
        if row.nbytes > _BATCH_BYTES:
            yield _too_large()
            continue
        try:
            (values,) = row.to_pylist(maps_as_pydicts="lossy")
        except (ValueError, OverflowError) as error:
            yield RawRecord.broken("invalid_record", f"a value that cannot be read: {error}")
        else:
            yield _record(values)


def _too_large() -> RawRecord:
    return RawRecord.broken("too_large", f"a row is larger than {MAX_RECORD_BYTES >> 20} MiB")


def _record(row: dict[str, Any]) -> RawRecord:
    text = json.dumps(_plain(row), ensure_ascii=False)
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_RECORD_BYTES:
        return _too_large()
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
