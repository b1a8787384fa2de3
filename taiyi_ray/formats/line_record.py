"""Records of several lines, collected up to the limit."""

from __future__ import annotations

from collections.abc import Iterator

from taiyi_ray.formats.format import MAX_RECORD_BYTES, RawRecord


class LineRecord:
    """Collects the lines of one record after another.

    Args:
        kind: the format's own word for the record.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._lines: list[bytes] = []
        self._size = 0

    def __bool__(self) -> bool:
        """Whether the record has any line."""
        return self._size > 0

    def add(self, line: bytes | None) -> None:
        """Add a line; None stands for one over the limit. A record over the limit keeps none."""
        self._size += MAX_RECORD_BYTES + 1 if line is None else len(line) + 1
        if self._size > MAX_RECORD_BYTES:
            self._lines.clear()
        else:
            self._lines.append(line or b"")

    def taken(self) -> Iterator[RawRecord]:
        """Yield the record or its fault, if it has any line, and begin another."""
        size, lines = self._size, self._lines
        self._size, self._lines = 0, []
        if size > MAX_RECORD_BYTES:
            message = f"a {self._kind} is larger than {MAX_RECORD_BYTES >> 20} MiB"
            yield RawRecord.broken("too_large", message)
        elif lines:
            yield RawRecord(self._kind, b"\n".join(lines))
