"""What only the job writes into an output: units, marks of dead engines, runs and the report.

A unit is written whole, never in part. `corpus/output.py` says what lies where, and reads it.
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
from taiyi_ray.corpus.output import FOOTER, Output, Totals
from taiyi_ray.corpus.units import Unit
from taiyi_ray.records import SCHEMA, Annotations, Failure, as_table, as_values


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a commit: whether this attempt's object `stands`, and what it holds."""

    stands: bool
    totals: Totals


class JobOutput(Output):
    """An output that the job works on."""

    def commit(
        self, unit: Unit, rows: Sequence[dict[str, Any]], run_id: str, *, replaces: str = ""
    ) -> Committed:
        """Write a unit whole; a row that Arrow cannot hold becomes a `failed` one.

        Args:
            replaces: tag of the unit's object whose place it takes (`--retry-failed`); without one
                it is written if there is none.
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
        """Note that an engine died while these records of the unit were in flight.

        Args:
            replaces: as of `commit`.
        """
        values = {"positions": list(positions), "alone": alone, "replaces": replaces}
        mark = json.dumps(values).encode()
        name = f"{uuid.uuid4().hex}.json"
        storage.put_if_absent(storage.join(self.place, "died", unit.name, name), mark)

    def marks(self) -> dict[str, list[str]]:
        """Where the marks of each marked unit are: one listing."""
        root = storage.join(self.place, "died")
        found: dict[str, list[str]] = {}
        for stored in storage.walk(root):
            if stored.path.endswith(".json"):
                name = stored.path[len(root) + 1 :].rpartition("/")[0]
                found.setdefault(name, []).append(stored.path)
        return found

    @staticmethod
    def died(marks: Iterable[str], replaces: str = "") -> tuple[set[int], Counter[int]]:
        """By these marks: positions suspected of killing engines, how often each did so alone.

        Only what happened while this same object was to be replaced counts: whoever asks for the
        failed documents again (`--retry-failed`) wants them asked.
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
        """Write this run's summary; a complete one also becomes OUT/run.json."""
        data = json.dumps(run, ensure_ascii=False, indent=1).encode()
        storage.replace(storage.join(self.place, "runs", f"{run['run_id']}.json"), data)
        if complete:
            storage.replace(storage.join(self.place, "run.json"), data)

    def write_report(self, html: str) -> None:
        storage.replace(storage.join(self.place, "report.html"), html.encode())


def _refused(row: dict[str, Any], reason: str) -> dict[str, Any]:
    """What stands for a row that Arrow cannot hold: its document, and why nothing was found."""
    where = row["document_id"] or f"record {row['position']}"
    failure = Failure(
        "not_arrow", where, f"what was found is nothing that a row can hold: {reason}"
    )
    return {
        **row,
        **as_values(Annotations()),
        "answers": [],
        "status": "failed",
        "errors": [*row["errors"], as_values(failure)],
    }
