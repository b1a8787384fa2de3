"""The end of a run: a wrong unit is named, and too many failed documents have an exit code."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from taiyi_ray import storage
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.output import Totals
from taiyi_ray.corpus.plan import Part, Plan
from taiyi_ray.corpus.source import PlannedSource
from taiyi_ray.errors import StorageError
from taiyi_ray.job.verifier import exit_code, verified
from tests.job.outputs import SOURCE, rows, unit


def plan_of(*units: tuple[int, int]) -> Plan:
    source = PlannedSource(
        path="/in/a.jsonl", size=1, tag="t", name=SOURCE, format="jsonl", complete=True,
        units=list(units),
    )  # fmt: skip
    return Plan([Part(sources=[source])])


def test_a_unit_that_does_not_hold_its_planned_records_is_named(local):
    for first, last in ((0, 2), (3, 5)):
        of = unit(first, last)
        local.commit(of, rows(of), "run-1")
    totals, files = verified(local, plan_of((0, 2), (3, 5)))
    assert (totals.documents.total(), len(files)) == (6, 2)
    whole = storage.read(local.path(unit(3, 5)))
    assert whole is not None
    local.units.commit(unit(3, 9), whole)
    with pytest.raises(StorageError, match=r"9\.parquet: holds 3 rows, 3 to 5, .*; delete it and"):
        verified(local, plan_of((0, 2), (3, 9)))


@pytest.mark.parametrize(
    ("failed", "accepted", "code"), [(0, 0.0, 0), (1, 0.1, 0), (2, 0.1, 3), (10, 1.0, 0)]
)
def test_a_larger_share_of_failed_documents_than_accepted_is_exit_code_3(failed, accepted, code):
    config = AnnotateConfig(inputs=["in"], output="out", engine="fake", max_failed=accepted)
    totals = Totals(documents=Counter(ok=10 - failed, failed=failed))
    said = io.StringIO()
    assert exit_code(config, totals, Console(file=said, width=200)) == code
    assert ("--retry-failed" in said.getvalue()) == (code == 3)
