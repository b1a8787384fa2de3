"""What a run has done: counted over its receipts, and written to the output again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from taiyi_ray.config import AnnotateConfig, recorded
from taiyi_ray.corpus.output import Totals, new_run_id
from taiyi_ray.job.output import JobOutput
from taiyi_ray.job.receipt import Receipt
from taiyi_ray.states import beating
from taiyi_ray.versions import versions

_COUNTED = ("documents", "failed", "prompt_tokens", "output_tokens", "unreadable_answers")
"""The counts of a receipt, which the record sums up."""


class RunRecord:
    """The record of one run: OUT/runs/<run_id>.json, and at its end OUT/run.json.

    Args:
        config: the settings of the run.
        output: the output that the run works on.
        model: name of what answers the questions.
        fingerprint: of what the run asks.
        records: number of records in the whole plan.

    Attributes:
        run_id: of the run.
        committed: when the newest unit was committed, in seconds since 1970; 0 before the first.
    """

    def __init__(
        self, config: AnnotateConfig, output: JobOutput, model: str, fingerprint: str, records: int
    ) -> None:
        self.run_id = new_run_id()
        self.committed = 0.0
        self._config, self._output = config, output
        self._model, self._fingerprint, self._records = model, fingerprint, records
        self._started = time.time()
        self._ready: float | None = None
        """When the first engine was ready, in seconds since 1970. Rates are computed over the time
        from then to the newest commit."""
        self._worked: dict[float, float] = {}
        """The time of each engine's newest commit, by the time when that engine was ready."""
        self._done = dict.fromkeys(_COUNTED, 0)

    @property
    def engines(self) -> int:
        """The number of engines that committed units."""
        return len(self._worked)

    def add(self, receipt: Receipt) -> None:
        """Count a unit that was committed."""
        for name in _COUNTED:
            self._done[name] += getattr(receipt, name)
        self._ready = min(self._ready or receipt.ready, receipt.ready)
        self.committed = max(self.committed, receipt.made)
        self._worked[receipt.ready] = max(self._worked.get(receipt.ready, 0.0), receipt.made)

    @contextmanager
    def kept_fresh(self) -> Iterator[None]:
        """Write the state now and every BEAT seconds, by which `status` knows that the run works.

        A thread of its own does this, because a unit may take longer than BEAT to be committed.
        """
        with beating(self._beat):
            yield

    def _beat(self) -> None:
        self.write("running", Totals())

    def write(self, state: str, totals: Totals) -> dict[str, Any]:
        """Write the present record, and return it.

        Args:
            state: `running`, `unfinished` or `complete`; a complete run is OUT/run.json too.
            totals: counts over the whole output, once it is complete.
        """
        seconds = max(0.001, self.committed - (self._ready or self._started))
        run: dict[str, Any] = {
            "run_id": self.run_id,
            "state": state,
            "started": datetime.fromtimestamp(self._started, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.time() - self._started, 1),
            "annotating_seconds": round(seconds, 1),
            "engine_seconds": round(sum(to - since for since, to in [*self._worked.items()]), 1),
            **self._done,
            **{
                f"{name}_per_second": round(self._done[name] / seconds, 2)
                for name in ("documents", "prompt_tokens", "output_tokens")
            },
            "model": self._model,
            "tasks": self._config.tasks,
            "fingerprint": self._fingerprint,
            "output": self._config.output,
            "records": self._records,
            "config": recorded(self._config),
            "versions": versions(),
            "totals": totals.as_dict(),
        }
        self._output.write_run(run, complete=state == "complete")
        return run
