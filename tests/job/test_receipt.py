"""Receipts: a unit is committed, or there is one reason why it is not."""

from __future__ import annotations

import pyarrow as pa
import pytest

from taiyi_ray.errors import ConfigError, ServerGone, StorageError, StorageGone
from taiyi_ray.job.receipt import Fault, Receipt, fault_of_reading, fault_of_work


def test_a_receipt_comes_back_from_a_table_as_it_was():
    for receipt in (
        Receipt("s/0-1", "host:7", 1.5, 2.5, documents=2, failed=1, output_tokens=9),
        Receipt("s/0-1", "host:7", 0.0, 2.5, Fault.NO_ENGINE, "no memory"),
    ):
        (row,) = pa.Table.from_pydict(receipt.as_batch()).to_pylist()
        assert Receipt.from_row(row) == receipt


@pytest.mark.parametrize(
    ("error", "reading", "work"),
    [
        (StorageGone("x"), Fault.STORE_GONE, Fault.STORE_GONE),
        (StorageError("x"), Fault.UNREADABLE, Fault.UNWRITABLE),
        (ConfigError("x"), Fault.UNREADABLE, Fault.UNREADABLE),
        (ServerGone("x"), Fault.UNREADABLE, Fault.SERVER_GONE),
        (OSError("x"), Fault.UNREADABLE, Fault.BROKEN),
    ],
)
def test_an_error_has_one_kind_of_fault(error, reading, work):
    assert (fault_of_reading(error), fault_of_work(error)) == (reading, work)


def test_a_committed_unit_has_no_fault_and_nothing_to_change():
    assert not Fault.NONE
    assert not (Fault.NONE.may_pass or Fault.NONE.to_be_changed or Fault.NONE.without_engine)
