"""Parquet: a row is a document; the columns are named as the keys of JSON lines (json_lines.py).

Rows are read in batches, whatever the size of the row groups. A value of a type that JSON does not
have becomes text (dates in ISO 8601); bytes are left out.

Parquet can repeat a long value many times in a few bytes. So the memory that a batch may need is
computed from the metadata of the file before any row is read
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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import json_lines
from taiyi_ray.formats.format import MAX_RECORD_BYTES, Format, RawRecord

_BATCH: Final = 64
_BATCH_BYTES: Final = 4 * MAX_RECORD_BYTES
"""The most bytes of a batch of more than one row; also the size up to which a column of a row
group, or all rows together, may be packed at any ratio."""

_RATIO: Final = 100
"""The highest ratio of compression of a column of a row group that is larger than _BATCH_BYTES;
that of text is about 10."""

_TOTAL_RATIO: Final = 1000
"""The highest ratio of all rows to the size of the file: about what gzip can reach."""

_VALUES: Final = 1 << 20
"""The most rows of a file, and values of a column of a row group, unless the file has more bytes: a
few bytes can stand for 2**31 nulls."""


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the rows as JSON objects; a fault of the file is the last record."""
    if not hasattr(stream, "seek"):
        yield RawRecord.broken(
            "compressed", "Parquet inside gzip; unpack the file, Parquet is compressed by itself"
        )
        return
    size = stream.seek(0, io.SEEK_END)
    rows = total = 0
    try:
        for batch in _batches(stream, size):
            for record in _records(batch):
                total += record.size
                if total > max(_BATCH_BYTES, _TOTAL_RATIO * size):
                    message = f"the rows are more than {total:,} bytes in a file of {size:,}"
                    raise FormatError("too_large", message)
                yield record
                rows += 1
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a fault of the store, not of the data
        yield RawRecord.broken("not_parquet", " ".join(f"not Parquet, or damaged: {error}".split()))
        return
    if not rows:
        yield RawRecord.broken("empty", "the file has no rows")


def _batches(stream: BinaryIO, size: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches of at most _BATCH_BYTES, or of one row.

    Raises:
        FormatError: `too_large`: a part of the file could fill the memory.
    """
    with pq.ParquetFile(stream) as file:
        # Bytes are left out of the rows, so their columns are not read.
        binary = {field.name for field in file.schema_arrow if _is_binary(field.type)}
        columns = [name for name in file.schema_arrow.names if name not in binary] or None
        if file.metadata.num_rows > max(_VALUES, size):
            message = f"{file.metadata.num_rows:,} rows in a file of {size:,} bytes"
            raise FormatError("too_large", message)
        rows: list[int] = []
        by_number: set[str] = set()
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            row = 1
            for at in range(group.num_columns):
                column = group.column(at)
                if column.path_in_schema in binary:
                    continue
                largest = _largest_value(column, stream, size)
                row += largest
                in_list = file.schema.column(at).max_repetition_level > 0
                if in_list and largest * column.num_values > _BATCH_BYTES:
                    by_number.add(column.path_in_schema)
            rows.append(max(1, min(_BATCH, _BATCH_BYTES // row)))
    # A list in one row may repeat a long value many times: such values stay in their dictionary.
    # Arrow has no threads here, since they could hold the stream when the interpreter ends.
    dictionaries = sorted(by_number)
    with pq.ParquetFile(stream, read_dictionary=dictionaries, pre_buffer=False) as file:
        for number, most in enumerate(rows):
            yield from file.iter_batches(
                most, row_groups=[number], columns=columns, use_threads=False
            )


def _is_binary(type_: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(test(type_) for test in tests)


def _largest_value(column: pq.ColumnChunkMetaData, stream: BinaryIO, size: int) -> int:
    """The bytes that one value of a column may need, where the file stores repeated values once.

    0 where each value is stored in full.
    """
    name, unpacked = column.path_in_schema, column.total_uncompressed_size
    packed = column.total_compressed_size
    if unpacked > max(_BATCH_BYTES, _RATIO * packed):
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
    """The bytes of a column's dictionary, as the header of its page states.

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
    """Yield the rows of a batch; a row with a value that Python cannot hold fails alone."""
    if len(batch) > 1 and sum(map(_text_bytes, batch.columns)) <= _BATCH_BYTES:
        try:
            rows = batch.to_pylist(maps_as_pydicts="lossy")
        except (ValueError, OverflowError):  # a date or invalid UTF-8: find the row, one by one
            pass
        else:
            yield from map(_record, rows)
            return
    for number in range(len(batch)):
        row = batch.slice(number, 1)
        if sum(map(_text_bytes, row.columns)) > MAX_RECORD_BYTES:
            yield _too_large()
            continue
        try:
            (values,) = row.to_pylist(maps_as_pydicts="lossy")
        except (ValueError, OverflowError) as error:
            yield RawRecord.broken("invalid_record", f"a value that cannot be read: {error}")
        else:
            yield _record(values)


def _text_bytes(array: pa.Array) -> int:
    """The bytes of all strings in an array; a repeated string counts each time."""
    types, type_ = pa.types, array.type
    if types.is_dictionary(type_):
        if not types.is_string(type_.value_type) and not types.is_large_string(type_.value_type):
            return 0
        lengths = pc.binary_length(array.dictionary).cast(pa.int64()).take(array.indices)
        return pc.sum(lengths).as_py() or 0
    if types.is_string(type_) or types.is_large_string(type_):
        return pc.sum(pc.binary_length(array).cast(pa.int64())).as_py() or 0
    if types.is_struct(type_):
        return sum(map(_text_bytes, array.flatten()))
    if types.is_map(type_):
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return sum(_text_bytes(e.slice(first, last - first)) for e in (array.keys, array.items))
    return _text_bytes(array.flatten()) if types.is_nested(type_) else 0  # lists of all kinds


def _too_large() -> RawRecord:
    return RawRecord.broken("too_large", f"a row is larger than {MAX_RECORD_BYTES >> 20} MiB")


def _record(row: dict[str, Any]) -> RawRecord:
    text = json.dumps(_plain(row), ensure_ascii=False)
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_RECORD_BYTES:
        return _too_large()
    return RawRecord("row", data)


def _plain(value: Any) -> Any:
    """Convert a value to one that JSON has."""
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
