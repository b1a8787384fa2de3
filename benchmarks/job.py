"""Documents a second of the corpus job beside vLLM alone, on the same prompts and arguments.

The sides run in turn, each in fresh processes, without their start: the job from when its engine
is ready to its last commit, vLLM from the first prompt to the last answer. LLM.chat runs once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import corpora
from benchmarks.bare import VLLM, Answered
from benchmarks.measure import ROOT, Row, in_turn, write
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus.output import Output
from taiyi_ray.corpus.plan import load_job, load_plan

DOCUMENTS = 64
ROUNDS = 2
SETTINGS: dict[str, Any] = {
    "tasks": ["ner"],
    "types": ["chemical", "disease", "gene", "species"],
    "ask": "together",
    "max_tokens": 64,
    "context_length": 2048,
    "engine_args": {"max_num_seqs": 64},
    "max_failed": 1,  # the embedded model knows nothing of the task
}
GROUNDINGS = ("grammar", "align")
SIDES = {"job": "taiyi-ray annotate", "loop": "AsyncLLM, bare", "chat": "LLM.chat"}


class Sides:
    """The sides on one corpus; each notes what was sent and answered."""

    def __init__(self, corpus: Path, grounding: str) -> None:
        self._corpus = corpus
        self._grounding = grounding
        self.answered: dict[str, list[Answered]] = {side: [] for side in SIDES}

    def measure(self, side: str) -> float:
        """Documents a second of one run of a side."""
        with tempfile.TemporaryDirectory() as folder:
            config = AnnotateConfig(
                inputs=[str(self._corpus)],
                output=str(Path(folder, "out")),
                grounding=self._grounding,
                **SETTINGS,
            )
            answered = _job(config, Path(folder)) if side == "job" else _bare(side, config)
        for others in self.answered.values():
            assert all(other.prompts == answered.prompts for other in others), "other prompts"
        self.answered[side].append(answered)
        return len(answered.prompts) / answered.seconds

    def rows(self, rates: dict[str, list[float]]) -> list[Row]:
        """The table's lines, medians over the rounds."""
        bare = median(rates["loop"])
        return [
            {
                "grammar": "yes" if self._grounding == "grammar" else "no",
                "side": SIDES[side],
                "documents/s": median(rates[side]),
                "tokens/s in": median(a.prompt_tokens / a.seconds for a in found),
                "tokens/s out": median(a.output_tokens / a.seconds for a in found),
                "tokens out": int(median(a.output_tokens for a in found)),
                "share of bare, %": 100 * median(rates[side]) / bare,
            }
            for side, found in self.answered.items()
        ]


def _job(config: AnnotateConfig, folder: Path) -> Answered:
    """The command, as a user starts it."""
    file = folder / "config.json"
    file.write_text(config.model_dump_json(), encoding="utf-8")
    command = Path(sys.executable).with_name("taiyi-ray")
    _output([str(command), "annotate", "--config", str(file)])
    run = json.loads(Path(config.output, "run.json").read_text(encoding="utf-8"))
    output = Output(config.output)
    job = load_job(output.address)
    assert job is not None
    rows = [row for unit in load_plan(output.address, job).units() for row in output.rows(unit)]
    return Answered(
        run["annotating_seconds"],
        [a["prompt_tokens"] for row in rows for a in row["answers"] if a["attempt"] == 0],
        run["prompt_tokens"],
        run["output_tokens"],
    )


def _bare(side: str, config: AnnotateConfig) -> Answered:
    command = [sys.executable, "-m", "benchmarks.bare", side, config.model_dump_json()]
    return Answered(**json.loads(_output(command).splitlines()[-1]))


def _output(command: list[str]) -> str:
    """Standard output of a command; what it says besides is shown when it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def main() -> None:
    """Measure and write the result."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = corpora.pubmed(Path(folder), DOCUMENTS)
        for grounding in GROUNDINGS:
            sides = Sides(corpus, grounding)
            rates = in_turn({s: partial(sides.measure, s) for s in ("job", "loop")}, ROUNDS)
            rates["chat"] = [sides.measure("chat")]
            rows += sides.rows(rates)
            settings = SETTINGS | {"documents": DOCUMENTS, "rounds": ROUNDS}
            write("job", rows, packages=(VLLM, "torch", "ray", "llguidance"), settings=settings)


if __name__ == "__main__":
    main()
