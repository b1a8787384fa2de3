"""Engines side by side: the job on 1 to 16 of them, on several Ray nodes of this machine.

The engines are fake and wait for seconds a unit, as real ones compute: what is measured is whether
driver, reading, commits and Ray keep them all at work. The rate of so many engines is taken between
the first commit of the last engine to begin and the last commit of the first one to end.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, say, write
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.plan import UNITS_AN_ENGINE
from taiyi_ray.job import execution, job

ENGINES = (1, 2, 4, 8, 16)
NODES = 4
LATENCY = 5.0
"""Seconds of an answer; an engine answers the 64 documents of a unit at once."""

DOCUMENTS = 64
"""Documents a unit."""

TEXT = "Patients with hypertension were treated with clonidine, naloxone or aspirin after stroke. "


def _corpus(path: Path, documents: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for number in range(documents):
            text = f"Document {number}. {TEXT * 12}"
            file.write(json.dumps({"document_id": str(number), "text": text}) + "\n")
    return path


class Receipts:
    """The receipts of a run, noted on their way to the job."""

    def __init__(self) -> None:
        self.commits: dict[str, list[float]] = defaultdict(list)
        self._execute = execution.execute

    def execute(self, *arguments: Any) -> Iterator[dict[str, Any]]:
        for receipt in self._execute(*arguments):
            assert not receipt["error"], receipt["error"]
            self.commits[receipt["engine"]].append(receipt["committed"])
            yield receipt

    def rate(self) -> float:
        """Units a second while all engines were at work."""
        begin = max(min(times) for times in self.commits.values())
        end = min(max(times) for times in self.commits.values())
        inside = sum(begin < at <= end for times in self.commits.values() for at in times)
        return inside / (end - begin)


def _measure(engines: int, folder: Path) -> float:
    source = _corpus(folder / f"{engines}.jsonl", engines * UNITS_AN_ENGINE * DOCUMENTS)
    config = AnnotateConfig(
        inputs=[str(source)],
        output=str(folder / str(engines)),
        tasks=["ner"],
        ask="together",
        engine="fake",
        engines=str(engines),
        engine_args={"latency": LATENCY},
    )
    receipts = Receipts()
    execution.execute = receipts.execute
    try:
        assert job.run(config) == 0
    finally:
        execution.execute = receipts._execute
    assert len(receipts.commits) == engines, f"{len(receipts.commits)} of {engines} engines worked"
    return DOCUMENTS * receipts.rate()


def main() -> None:
    """Measure and write the result."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 8, "object_store_memory": 1 << 28, "include_dashboard": False},
    )
    for _ in range(NODES - 1):
        nodes.add_node(num_cpus=8, object_store_memory=128 << 20)
    os.environ["RAY_ADDRESS"] = nodes.address
    rates: dict[int, float] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for engines in ENGINES:
                rates[engines] = _measure(engines, Path(folder))
                say(f"{engines} engines: {rates[engines]:.1f} documents/s")
    finally:
        nodes.shutdown()
    ideal = DOCUMENTS / LATENCY
    rows: list[Row] = [
        {
            "engines": engines,
            "documents/s": rate,
            "of as many times one, %": 100 * rate / (engines * rates[1]),
            "of engines that never wait, %": 100 * rate / (engines * ideal),
        }
        for engines, rate in rates.items()
    ]
    write(
        "scaling",
        rows,
        packages=("ray",),
        settings={
            "nodes": NODES,
            "latency, s": LATENCY,
            "units an engine": UNITS_AN_ENGINE,
            "documents a unit": DOCUMENTS,
        },
    )


if __name__ == "__main__":
    main()
