"""What 37 million abstracts would take on GPUs that are not here, by the arithmetic of `plan`.

Nine types apart and six relations are asked about real abstracts. The shipped model answers the
first ones here, so that the length of answers is measured; the rates of the GPUs are assumptions.
The planned models are empty files of the right size, with the embedded model's tokenizer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import corpora
from benchmarks.measure import ROOT, Row, say, write
from taiyi_ray import models
from taiyi_ray.config import DEMO_MODEL, AnnotateConfig
from taiyi_ray.job.estimate import HOST, Quantity, estimate
from taiyi_ray.tasks.vocabulary import MENTION_TYPES, RELATION_TYPES

ABSTRACTS = 37_000_000
PLANNED = 400
"""Abstracts whose prompts are made."""
ANSWERED = 16
"""Abstracts that the shipped model answers."""
ASKED: dict[str, Any] = {
    "tasks": ["ner", "re"],
    "types": [term.name for term in MENTION_TYPES],
    "relations": [term.name for term in RELATION_TYPES],
    "ask": "apart",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a model: what is needed to count its operations and its memory."""

    name: str
    parameters: float
    config: dict[str, int]


SMALL = Shape(
    "1.7B, shape of SmolLM2-1.7B",
    1.71e9,
    {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32,
     "num_key_value_heads": 32, "intermediate_size": 8192},
)  # fmt: skip
LARGE = Shape(
    "8B, shape of Llama 3.1 8B",
    8.03e9,
    {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
     "num_key_value_heads": 8, "intermediate_size": 14336},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A line of the table."""

    shape: Shape
    gpu: str
    wording: int | str
    engines: int
    """How many engines share a GPU."""


CASES = (
    Case(SMALL, "H200", 1, 1),
    Case(SMALL, "H200", "short", 1),
    Case(SMALL, "H200", "short", 2),
    Case(SMALL, "H200", "short", 4),
    Case(LARGE, "H200", "short", 1),
    Case(LARGE, "H200", "short", 2),
    Case(LARGE, "L40S", "short", 1),
)


def empty_model(shape: Shape, folder: Path) -> Path:
    """A folder as that of the embedded model, with other sizes and weights that take no disk."""
    made = folder / shape.name.split(",")[0]
    if not made.exists():
        whole = shutil.ignore_patterns("*.safetensors")
        shutil.copytree(models.resolve().path, made, ignore=whole)
        config = json.loads((made / "config.json").read_text(encoding="utf-8"))
        config.pop("head_dim", None)
        (made / "config.json").write_text(json.dumps(config | shape.config), encoding="utf-8")
        with (made / "model.safetensors").open("wb") as file:
            file.truncate(int(2 * shape.parameters))
    return made


def answered(inputs: Path, folder: Path) -> str:
    """Annotate some abstracts with the shipped model, as a user would, and return the output."""
    config = AnnotateConfig(
        inputs=[str(inputs)], output=str(folder / "out"), limit=ANSWERED, max_failed=1
    )
    file = folder / "config.json"
    file.write_text(config.model_dump_json(exclude_unset=True), encoding="utf-8")
    command = Path(sys.executable).with_name("taiyi-ray")
    subprocess.run([command, "annotate", "--config", file], cwd=ROOT, check=True)
    return config.output


def line(case: Case, inputs: Path, run: str, folder: Path) -> Row:
    """What the corpus takes in one case."""
    config = AnnotateConfig(
        inputs=[str(inputs)],
        output=str(folder / "planned"),
        model=str(empty_model(case.shape, folder)),
        gpu=case.gpu,
        wording=case.wording,
        engine_args={"gpu_memory_utilization": round(0.9 / case.engines, 2)},
        **ASKED,
    )
    totals = estimate(config, runs=[run]).totals
    documents = totals["documents"].value
    host = totals["questions"].value * HOST.value / 3600
    hours = totals["engine_hours"]

    def of_all(quantity: float) -> int:
        return round(quantity * ABSTRACTS / documents / case.engines)

    def each(quantity: Quantity) -> float:
        return quantity.value / documents

    return {
        "model": case.shape.name,
        "GPU": case.gpu,
        "wording": case.wording,
        "engines a GPU": case.engines,
        "questions a document": round(each(totals["questions"]), 1),
        "prompt tokens computed": round(
            each(totals["prompt_tokens"]) - each(totals["cached_tokens"])
        ),
        "output tokens": round(each(totals["output_tokens"])),
        "GPU-hours": of_all(hours.value),
        "95 %": f"{of_all(hours.low):,} to {of_all(hours.high):,}",
        "bound by": "the process in front" if hours.value <= 1.001 * host else "the GPU",
    }


def main() -> None:
    """Compute and write the result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = corpora.pubmed(folder, PLANNED)
        run = answered(inputs, folder)
        rows = [line(case, inputs, run, folder) for case in CASES]
        say("the rates of GPUs are assumed, not measured")
    settings = {"answering": DEMO_MODEL, "planned": PLANNED, "answered": ANSWERED, **ASKED}
    write("paper", rows, packages=("taiyi_ray",), settings=settings)


if __name__ == "__main__":
    main()
