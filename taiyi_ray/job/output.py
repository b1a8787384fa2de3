"""The writing side of an output: units, marks of dead engines, runs and the report.

A unit is written whole, never in part. `corpus/output.py` lists the files of an output, and reads
them.
"""

from __future__ import annotations

import io
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from taiyi_ray import storage
from taiyi_ray.corpus.output import FOOTER, RUN, Output, Totals
from taiyi_ray.corpus.units import Unit
from taiyi_ray.records import SCHEMA, Annotations, Failure, as_table, as_values


@dataclass(frozen=True, slots=True)
class Committed:
    """The result of a commit.

    Attributes:
        stands: whether the unit's object is now the one of this attempt.
        totals: counts over the rows of this attempt.
    """

    stands: bool
    totals: Totals


class JobOutput(Output):
    """An output that a job writes."""

    def commit(
        self, unit: Unit, rows: Sequence[dict[str, Any]], run_id: str, *, replaces: str = ""
    ) -> Committed:
        """Write a unit whole; a row that Arrow cannot hold is replaced by a `failed` one.

        Args:
            unit: the unit.
            rows: a row for each of its records, in order.
            run_id: of the run that commits it.
            replaces: tag of the unit's present object, which this one replaces (`--retry-failed`).
                Without a tag the unit is only written if it has no object yet.
        """
        assert [row["position"] for row in rows] == list(range(unit.first, unit.last + 1))
        rows = list(rows)
        table = as_table(rows, SCHEMA, _refused)
        totals = Totals.of(rows)
        footer = {
            "unit": unit.name,
            "attempt": uuid.uuid4().hex,  # no two attempts have the same bytes
            "run_id": run_id,
            "totals": totals.as_dict(),
        }
        table = table.replace_schema_metadata({FOOTER: json.dumps(footer, ensure_ascii=False)})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        stands = self.units.commit(unit, buffer.getvalue(), replaces=replaces)
        return Committed(stands, totals)

    # ------------------------------------------------------------------------------ died marks

    def mark_died(
        self, unit: Unit, positions: Sequence[int], *, alone: bool, replaces: str = ""
    ) -> None:
        """Record that an engine died while these records of the unit were in flight.

        Args:
            unit: the unit.
            positions: of the records.
            alone: whether one record was in flight, and nothing else at that engine.
            replaces: as for `commit`.
        """
        values = {"positions": list(positions), "alone": alone, "replaces": replaces}
        mark = json.dumps(values).encode()
        name = f"{uuid.uuid4().hex}.json"
        storage.put_if_absent(storage.join(self.address, "died", unit.name, name), mark)

    def marks(self) -> dict[str, list[str]]:
        """Return the addresses of all marks, by the names of their units: one listing."""
        root = storage.join(self.address, "died")
        marks: dict[str, list[str]] = {}
        for stored in storage.walk(root):
            if stored.path.endswith(".json"):
                name = stored.path[len(root) + 1 :].rpartition("/")[0]
                marks.setdefault(name, []).append(stored.path)
        return marks

    @staticmethod
    def died(marks: Iterable[str], replaces: str = "") -> tuple[set[int], Counter[int]]:
        """Read the marks of a unit, and tell which of its documents may have killed engines.

        Only marks with the same `replaces` count. With `--retry-failed` a document that failed
        because engines died is therefore asked again.

        Args:
            marks: addresses of the unit's marks.
            replaces: tag of the object that the unit will replace; empty for a new unit.

        Returns:
            The positions of the suspected documents, and how often an engine died while the
            document at a position was alone in flight.
        """
        suspects: set[int] = set()
        alone: Counter[int] = Counter()
        for path in marks:
            data = storage.read(path)
            if data is not None:
                mark = json.loads(data)
                if mark.get("replaces", "") != replaces:
                    continue
                suspects.update(mark["positions"])
                if mark["alone"]:
                    alone.update(mark["positions"])
        return suspects, alone

    # ------------------------------------------------------------------------------------ runs

    def write_run(self, run: dict[str, Any], *, complete: bool) -> None:
        """Write a run's state to OUT/runs/, and that of a complete run to OUT/run.json as well."""
        data = json.dumps(run, ensure_ascii=False, indent=1).encode()
        storage.replace(storage.join(self.address, "runs", f"{run['run_id']}.json"), data)
        if complete:
            storage.replace(storage.join(self.address, RUN), data)

    def write_report(self, html: str) -> None:
        """Write OUT/report.html."""
        storage.replace(storage.join(self.address, "report.html"), html.encode())


def _refused(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return what replaces a row that Arrow cannot hold: its document, `failed`, and the reason."""
    where = row["document_id"] or f"record {row['position']}"
    failure = Failure("not_arrow", where, f"a row cannot hold what the answers say: {reason}")
    return {
        **row,
        **as_values(Annotations()),
        "answers": [],
        "status": "failed",
        "errors": [*row["errors"], as_values(failure)],
    }
