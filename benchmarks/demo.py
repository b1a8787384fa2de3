"""The shipped model on whole test sets, and on the first documents of others.

The outputs of `taiyi-ray evaluate` stay in the folder that is given, so that a run that was broken
off goes on. README and model card quote the result.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.bare import VLLM
from benchmarks.gold import DATA
from benchmarks.measure import ROOT, Row, say, write
from taiyi_ray.config import DEMO_MODEL, EvaluateConfig

WHOLE = ("bc5cdr-chemical", "bc5cdr-disease", "ncbi-disease")
"""The benchmarks of which all documents are asked."""
FIRST = (
    *("bc2gm", "linnaeus", "bc5cdr-cid", "pubmedqa"),  # corpora of the training
    *("biored", "jnlpba", "anat-em"),  # none of these was trained on
    *("cmedqaner", "cmedic"),  # Chinese
)
"""The benchmarks of which the first DOCUMENTS are asked."""
DOCUMENTS = 100
BY_TYPE = ("biored", "jnlpba")
"""The benchmarks of which each type has a line of its own, too."""


def evaluated(folder: Path, names: tuple[str, ...], limit: int | None) -> Path:
    """Run the command, as a user starts it, and return the folder of its output.

    Args:
        folder: where the outputs lie.
        names: the benchmarks.
        limit: the most documents of each.
    """
    output = folder / ("first" if limit else "whole")
    config = EvaluateConfig(
        model=DEMO_MODEL,
        benchmarks=list(names),
        data_root=str(DATA),
        output=str(output),
        limit=limit,
        ask="apart",  # as it was trained
        max_failed=1,
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{output.name}.json"
    file.write_text(config.model_dump_json(exclude_unset=True), encoding="utf-8")
    command = Path(sys.executable).with_name("taiyi-ray")
    subprocess.run([command, "evaluate", "--config", file], cwd=ROOT, check=True)
    say(f"{output.name}: done")
    return output


def digest(output: Path) -> str:
    """A digest of the rows of an output: of what was found, not of the run that found it."""
    rows = (row for file in sorted(output.glob("annotations/**/*.parquet"))
            for row in pq.read_table(file).to_pylist())  # fmt: skip
    found = [{k: v for k, v in row.items() if k not in ("unit", "run_id")} for row in rows]
    found.sort(key=lambda row: (row["source"], row["position"]))
    return hashlib.sha256(json.dumps(found, default=str).encode()).hexdigest()


def lines(output: Path) -> Iterator[Row]:
    """A line for each score of an output, and for the types of some."""
    for record in json.loads((output / "scores.json").read_text(encoding="utf-8")):
        yield _line(record, "", record)
        if record["benchmark"] in BY_TYPE and record["metric"] == "strict_f1":
            for values in record["types"]:
                yield _line(record, values["type"], values)


def _line(record: dict[str, Any], type_: str, values: dict[str, Any]) -> Row:
    published = {} if type_ else record["published"] or {}
    return {
        "benchmark": record["benchmark"],
        "type": type_,
        "documents": record["documents"],
        "metric": record["metric"],
        "score": round(values["value"], 1),
        "95 %": f"{values['low']:.1f}-{values['high']:.1f}",
        "precision": _rounded(values.get("precision")),
        "recall": _rounded(values.get("recall")),
        "published": ", ".join(f"{k} {v}" for k, v in published.items() if k.startswith("Taiyi")),
        "looping %": None if type_ else round(record["looping"], 1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def main() -> None:
    """Measure and write the result."""
    folder = Path(sys.argv[1])
    outputs = [evaluated(folder, WHOLE, None), evaluated(folder, FIRST, DOCUMENTS)]
    job = json.loads((outputs[0] / "job.json").read_text(encoding="utf-8"))
    settings = {
        "model": DEMO_MODEL,
        "model_digest": job["identity"]["model"],
        "documents": DOCUMENTS,
        "rows": {output.name: digest(output) for output in outputs},
    }
    found = [line for output in outputs for line in lines(output)]
    write("demo", found, packages=(VLLM, "torch", "ray", "llguidance"), settings=settings)


if __name__ == "__main__":
    main()
