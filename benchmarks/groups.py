"""Types apart or together, relations anywhere or between mentions: F1 against tokens.

The shipped model is asked its default types and its relation about gold. The ways to ask take turns
in one engine, whose cache is emptied between them, so that a slow minute slows all of them.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import Any

from benchmarks.bare import VLLM
from benchmarks.gold import DATA
from benchmarks.measure import Row, say, write
from taiyi_ray import models
from taiyi_ray.annotation import Annotated, Annotator
from taiyi_ray.config import DEMO_MODEL
from taiyi_ray.engine.vllm import VllmEngine
from taiyi_ray.metrics import Quality
from taiyi_ray.records import Annotations
from taiyi_ray.tasks import assign, ner, relations
from taiyi_ray.tasks.task import Assignment, Counts
from taiyi_ray.tasks.template import AskingForm
from tests import samples

CONTEXT = 4096
MAX_TOKENS = 512
ROUNDS = 2
RELATION = "chemical_induced_disease"
CORPORA = {
    "BC5CDR": ("bc5cdr", "test", ("chemical", "disease"), 100),
    "NCBI disease": ("ncbi_disease", "test", ("disease",), 60),
    "BioRED": ("biored", "dev", ("chemical", "disease", "species"), 60),
}
"""The corpora: the name in the catalogue, a split that did not train the model, which of the types
it has, and the number of its documents. Only BC5CDR has the relation."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to ask: what differs from the way that the model wants."""

    name: str
    ask: str = "apart"
    ends: str = "mentions"

    def assignments(self, form: AskingForm) -> list[Assignment]:
        """The tasks asked in this way, and else as the model wants."""
        options: dict[str, dict[str, Any]] = {"ner": {"ask": self.ask}, "re": {"ends": self.ends}}
        return [one.in_form(form) for one in assign(["ner", "re"], options)]


WAYS = (
    Way("apart, relations anywhere", ends="text"),
    Way("apart, relations between mentions"),
    Way("together, relations between mentions", ask="together"),
)

_Round = tuple[float, list[Annotated]]


async def measure(path: str, form: AskingForm, gold: dict[str, list[samples.Gold]]) -> list[Row]:
    """Ask in all ways about all corpora."""
    engine = VllmEngine(
        path,
        chat="template",
        context_length=CONTEXT,
        trust_remote_code=False,
        scores=False,
        arguments={},
    )
    try:
        await _round(engine, WAYS[0], form, gold["BC5CDR"][:2])  # the first is slower
        rounds: dict[tuple[str, str], list[_Round]] = {}
        for number in range(ROUNDS):
            for way in WAYS[number % len(WAYS) :] + WAYS[: number % len(WAYS)]:
                for corpus, batch in gold.items():
                    await engine.client.reset_prefix_cache()
                    one = await _round(engine, way, form, batch)
                    rounds.setdefault((way.name, corpus), []).append(one)
                    say(f"round {number + 1}, {way.name}, {corpus}: {len(batch) / one[0]:.2f}")
    finally:
        engine.close()
    return [_row(way, rounds, gold) for way in WAYS]


async def _round(
    engine: VllmEngine, way: Way, form: AskingForm, batch: list[samples.Gold]
) -> _Round:
    annotator = Annotator(engine, way.assignments(form), MAX_TOKENS)
    began = time.perf_counter()
    found = await asyncio.gather(*(annotator.annotate(document) for document, _ in batch))
    return time.perf_counter() - began, list(found)


def _row(
    way: Way, rounds: dict[tuple[str, str], list[_Round]], gold: dict[str, list[samples.Gold]]
) -> Row:
    row: Row = {"way": way.name}
    told = Counter[str]()
    for corpus, batch in gold.items():
        first = rounds[way.name, corpus][0][1]
        types = CORPORA[corpus][2]
        row[f"F1 {corpus}"] = _f1(
            [
                ner.score(_of(types, found.annotations), _of(types, true))
                for found, (_, true) in zip(first, batch, strict=True)
            ]
        ).f1
        for found in first:
            told.update(
                questions=len(found.answers),
                computed=sum(a.prompt_tokens - a.cached_tokens for a in found.answers),
                output=sum(a.output_tokens for a in found.answers),
                partial=found.status == "partial",
                relations=len(found.annotations.relations),
            )
    pairs = [
        relations.score(found.annotations, true)
        for found, (_, true) in zip(rounds[way.name, "BC5CDR"][0][1], gold["BC5CDR"], strict=True)
    ]
    quality = _f1(pairs)
    row |= {"P relations": quality.precision, "R relations": quality.recall}
    row |= {"F1 relations": quality.f1}
    documents = sum(map(len, gold.values()))
    row["partial, %"] = 100 * told.pop("partial") / documents
    row |= {f"{name}/document": round(told[name] / documents, 1) for name in told}
    seconds = sum(
        statistics.median(seconds for seconds, _ in rounds[way.name, corpus]) for corpus in gold
    )
    row = {k: round(v, 1) if isinstance(v, float) else v for k, v in row.items()}
    return row | {"documents/s": round(documents / seconds, 2)}


def _of(types: tuple[str, ...], annotations: Annotations) -> Annotations:
    return Annotations([m for m in annotations.mentions if m.type in types])


def _f1(counts: list[Counts]) -> Quality:
    return Quality.of(Counts(*(sum(getattr(c, n) for c in counts) for n in ("tp", "fp", "fn"))))


def main() -> None:
    """Measure all ways and write the result."""
    model = models.resolve(DEMO_MODEL)
    form = models.asking_form(str(model.path))
    assert form is not None
    gold = {
        corpus: list(islice(samples.corpus(DATA, name, split), size))
        for corpus, (name, split, _, size) in CORPORA.items()
    }
    rows = asyncio.run(measure(str(model.path), form, gold))
    settings = {
        "model": DEMO_MODEL,
        "documents": {corpus: len(batch) for corpus, batch in gold.items()},
        "rounds": ROUNDS,
        "max_tokens": MAX_TOKENS,
    }
    write("groups", rows, packages=(VLLM, "torch", "llguidance"), settings=settings)


if __name__ == "__main__":
    main()
