"""Scores of the first documents of benchmarks, with the grammar and without it.

The base without an adapter is asked about every benchmark that is here, and the shipped model about
those that it was trained for. With `--grounding align` a model writes freely, and what it wrote is
looked for in the text: the tables show what grounding by construction does to precision, recall and
what is not in the text.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.bare import VLLM
from benchmarks.gold import DATA
from benchmarks.measure import ROOT, Row, say, write
from taiyi_ray.config import DEMO_MODEL, EMBEDDED_MODEL, EvaluateConfig
from taiyi_ray.evaluate.compare import ALL_TYPES, compare


@dataclass(frozen=True, slots=True)
class Asked:
    """A model, and what it is asked.

    Attributes:
        benchmarks: those asked under the grammar; None for all whose corpora are here.
        free: those asked without it, too.
        settings: settings of `evaluate`.
    """

    benchmarks: tuple[str, ...] | None
    free: tuple[str, ...]
    settings: dict[str, Any]


TRAINED = ("bc5cdr-chemical", "bc5cdr-disease", "ncbi-disease", "bc5cdr-cid", "biored")
MODELS = {
    "evaluate": Asked(
        None,
        (
            "bc5cdr-chemical",
            "bc5cdr-disease",
            "ncbi-disease",
            "cmeee",
            "bc5cdr-cid",
            "cmeie",
            "biored",
        ),
        {"model": EMBEDDED_MODEL, "limit": 5, "ask": "together", "max_tokens": 64},
    ),
    "grounding": Asked(TRAINED, TRAINED, {"model": DEMO_MODEL, "limit": 25, "max_tokens": 256}),
}
"""What is measured, by the name of its result: `make bench-evaluate`, `make bench-grounding`."""
SETTINGS: dict[str, Any] = {
    "context_length": 2048,
    "engine_args": {"max_num_seqs": 16},
    "max_failed": 1,  # a weak model may fail at anything
}


def evaluated(grounding: str, asked: Asked, folder: Path) -> Path:
    """Run the command, as a user starts it, and return the folder of its output."""
    names = asked.free if grounding == "align" else asked.benchmarks
    config = EvaluateConfig(
        benchmarks=None if names is None else list(names),
        data_root=str(DATA),
        output=str(folder / grounding),
        grounding=grounding,
        **SETTINGS,
        **asked.settings,
    )
    file = folder / f"{grounding}.json"
    file.write_text(config.model_dump_json(exclude_unset=True), encoding="utf-8")
    command = Path(sys.executable).with_name("taiyi-ray")
    done = subprocess.run(
        [command, "evaluate", "--config", file], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    say(f"{grounding}: done")
    return folder / grounding


def rows(output: Path, grounding: str) -> Iterator[Row]:
    """A line for the main metric of each benchmark, with what was found and where it stands."""
    shown: set[str] = set()
    for record in json.loads((output / "scores.json").read_text(encoding="utf-8")):
        if (name := record["benchmark"]) in shown:
            continue
        shown.add(name)
        read = pq.read_table(output / "annotations" / name, columns=["mentions"])
        mentions = [mention for found in read["mentions"].to_pylist() for mention in found]
        outside = sum(mention["start"] is None for mention in mentions)
        yield {
            "benchmark": name,
            "grounding": grounding,
            "documents": record["documents"],
            "metric": record["metric"],
            "score": round(record["value"], 1),
            "95 %": f"{record['low']:.1f}-{record['high']:.1f}",
            "ceiling": round(record["ceiling"], 1),
            "precision": _rounded(record.get("precision")),
            "recall": _rounded(record.get("recall")),
            "mentions": len(mentions) or None,
            "not in the text": outside if mentions else None,
            "cut %": round(record["cut"], 1),
            "looping %": round(record["looping"], 1),
            "invalid %": round(record["invalid"], 1),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def main() -> None:
    """Measure one model, and write the result."""
    name = sys.argv[1]
    asked = MODELS[name]
    with tempfile.TemporaryDirectory() as folder:
        outputs = {way: evaluated(way, asked, Path(folder)) for way in ("grammar", "align")}
        lines = [line for way, output in outputs.items() for line in rows(output, way)]
        order = list(dict.fromkeys(line["benchmark"] for line in lines))
        lines.sort(key=lambda line: order.index(line["benchmark"]))
        clear = [
            f"{one.benchmark} {one.metric}: {one.verdict}"
            for one in compare([str(outputs["grammar"]), str(outputs["align"])]).lines
            if one.type == ALL_TYPES and one.verdict in ("better", "worse")
        ]
        say(f"clear differences of align to grammar: {'; '.join(clear) or 'none'}")
        settings = SETTINGS | asked.settings | {"clear differences of align": clear}
        write(name, lines, packages=(VLLM, "torch", "ray", "llguidance"), settings=settings)


if __name__ == "__main__":
    main()
