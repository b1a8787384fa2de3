"""The job beside what people use for the same work: rate, tokens, F1, processes.

The shipped model is asked about abstracts of BC5CDR's test part, which did not train it, about one
type of mentions and about four types and a relation. Engine arguments and cores are the same for
all; the sides take turns, each started anew, without their start.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks import corpora
from benchmarks.bare import VLLM
from benchmarks.gold import DATA
from benchmarks.measure import ROOT, Row, in_turn, write
from benchmarks.peer_sides import CORPUS, HAS, SIDES, Found
from taiyi_ray.config import DEMO_MODEL, AnnotateConfig
from taiyi_ray.forms import running
from taiyi_ray.metrics import Quality, string_mentions, string_relations
from taiyi_ray.records import Annotations
from taiyi_ray.rows import read_rows
from taiyi_ray.tasks.task import Counts
from tests import samples

DOCUMENTS = 64
ROUNDS = 2
WORK: dict[int, dict[str, Any]] = {
    1: {"tasks": ["ner"], "types": ["chemical"]},
    5: {
        "tasks": ["ner", "re"],
        "types": ["chemical", "disease", "gene", "species"],
        "relations": ["chemical_induced_disease"],
    },
}
"""What is asked, by the number of questions on a document."""

SETTINGS: dict[str, Any] = {"model": DEMO_MODEL, "context_length": 4096, "max_tokens": 256}
OURS = "taiyi-ray annotate"


class Sides:
    """The sides on one piece of work; each notes what it found and how many processes it had."""

    def __init__(self, corpus: Path, work: dict[str, Any]) -> None:
        self._corpus, self._work = corpus, work
        self.found: dict[str, list[Found]] = {side: [] for side in (OURS, *SIDES)}
        self.processes: dict[str, int] = {}

    def measure(self, side: str) -> float:
        """Documents a second of one run of a side."""
        with tempfile.TemporaryDirectory() as folder:
            output, file = Path(folder, "out"), Path(folder, "settings-or-found.json")
            config = AnnotateConfig(
                inputs=[str(self._corpus)], output=str(output), **SETTINGS, **self._work
            )
            settings = config.model_dump_json(exclude_unset=True)
            if side == OURS:
                file.write_text(settings, encoding="utf-8")
                command = str(Path(sys.executable).with_name("taiyi-ray"))
                self._run(side, [command, "annotate", "--config", str(file)])
                found = _ours(output)
            else:
                module = [sys.executable, "-m", "benchmarks.peer_sides"]
                self._run(side, [*module, side, settings, str(file)])
                found = Found(**json.loads(file.read_text(encoding="utf-8")))
        self.found[side].append(found)
        return len(found.mentions) / found.seconds

    def _run(self, side: str, command: list[str]) -> None:
        """Run a command to its end; its processes are counted meanwhile."""
        with tempfile.TemporaryFile("w+") as output:
            with subprocess.Popen(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            ) as process:
                while process.poll() is None:
                    count = 1 + len(psutil.Process(process.pid).children(recursive=True))
                    self.processes[side] = max(count, self.processes.get(side, 0))
                    time.sleep(0.5)
            output.seek(0)
            assert process.returncode == 0, output.read()[-4000:]

    def rows(self, questions: int, gold: list[samples.Gold]) -> list[Row]:
        """The table's lines, medians over the rounds."""
        asked = {*self._work["types"], *self._work.get("relations", ())} & HAS
        rates = {
            side: median(len(gold) / one.seconds for one in found)
            for side, found in self.found.items()
        }
        return [
            {
                "questions/document": questions,
                "side": side,
                "documents/s": rates[side],
                "ours is so many times as fast": rates[OURS] / rates[side],
                "tokens in/document": round(found[0].prompt_tokens / len(gold)),
                "tokens out/document": round(found[0].output_tokens / len(gold), 1),
                "F1 mentions": _f1(found[0], gold, string_mentions, asked),
                "F1 relations": _f1(found[0], gold, string_relations, asked)
                if "relations" in self._work
                else None,
                "mentions not in the text, %": _absent(found[0], gold),
                "processes": self.processes[side],
            }
            for side, found in self.found.items()
        ]


def _ours(output: Path) -> Found:
    rows = list(read_rows(output))
    run = json.loads((output / "run.json").read_text(encoding="utf-8"))
    return Found(
        run["annotating_seconds"],
        run["prompt_tokens"],
        run["output_tokens"],
        [[[m.type, m.text] for m in row.mentions if m.type is not None] for row in rows],
        [[[r.type, r.head_text, r.tail_text] for r in row.relations] for row in rows],
    )


def _f1(
    found: Found,
    gold: list[samples.Gold],
    items: Callable[[Annotations], Iterable[tuple[str, Hashable]]],
    asked: set[str],
) -> float:
    """F1 in percent of sets of strings a document, of the types that the corpus has."""
    counts = [
        Counts.of(*([i for i in items(one) if i[0] in asked] for one in (mine, true)))
        for mine, (_, true) in zip(map(found.annotations, range(len(gold))), gold, strict=True)
    ]
    return Quality.of(Counts(*(sum(getattr(c, n) for c in counts) for n in ("tp", "fp", "fn")))).f1


def _absent(found: Found, gold: list[samples.Gold]) -> float | None:
    """The percentage of the mentions whose words do not stand in their document."""
    named = [
        (text, document.text)
        for mentions, (document, _) in zip(found.mentions, gold, strict=True)
        for _, text in mentions
    ]
    if not named:
        return None
    return 100 * sum(running(t) not in running(document) for t, document in named) / len(named)


def main() -> None:
    """Measure and write the result."""
    fitting = (
        one for one in samples.corpus(DATA, CORPUS, "test") if len(one[0].text) in corpora.LENGTHS
    )
    gold = list(islice(fitting, DOCUMENTS))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "bc5cdr.jsonl")
        corpora.write(corpus, [document for document, _ in gold])
        for questions, work in WORK.items():
            sides = Sides(corpus, work)
            in_turn({side: partial(sides.measure, side) for side in (OURS, *SIDES)}, ROUNDS)
            rows += sides.rows(questions, gold)
    write(
        "peers",
        rows,
        packages=(VLLM, "torch", "ray", "llguidance", "langextract"),
        settings=SETTINGS | {"documents": len(gold), "rounds": ROUNDS, "work": WORK},
    )


if __name__ == "__main__":
    main()
