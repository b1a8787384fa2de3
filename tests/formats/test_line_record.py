"""Records of several lines; what becomes of large ones is tested with PubTator and CoNLL."""

from __future__ import annotations

from taiyi_ray.formats.line_record import LineRecord


def test_a_record_is_its_lines_and_another_begins_behind_it() -> None:
    record = LineRecord("document")
    assert not record
    record.add(b"a")
    record.add(b"")
    assert record
    assert [(r.kind, r.data) for r in record.taken()] == [("document", b"a\n")]
    assert list(record.taken()) == []


def test_a_line_over_the_limit_makes_the_record_a_fault() -> None:
    record = LineRecord("row")
    record.add(None)
    (fault,) = record.taken()
    assert (fault.fault, fault.data) == ("too_large", b"a row is larger than 16 MiB")
