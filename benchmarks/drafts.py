"""Drafts by n-grams: what they bring with few and with many questions at once.

Three engines on the shipped model are asked by turns: one never drafts, one always does, one only
while it has few questions. Their answers are compared: drafts are verified, so they should be the
same.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import ExitStack
from itertools import islice
from typing import Any

from benchmarks.bare import VLLM
from benchmarks.gold import DATA
from benchmarks.measure import Row, say, write
from taiyi_ray import models
from taiyi_ray.annotation import Annotated, Annotator
from taiyi_ray.config import DEMO_MODEL
from taiyi_ray.engine.vllm import VllmEngine
from taiyi_ray.records import Document
from taiyi_ray.tasks import assign
from taiyi_ray.tasks.template import AskingForm
from tests import samples

AT_ONCE = {1: 8, 4: 16, 16: 32, 64: 64}
"""How many documents are annotated at once, each with three questions, and how many there are."""
ROUNDS = 3
DRAFTS: dict[str, Any] = {
    "method": "ngram",
    "num_speculative_tokens": 4,
    "prompt_lookup_min": 1,
    "prompt_lookup_max": 3,
}
FEW = 4
SIDES: dict[str, dict[str, Any] | None] = {
    "without": None,
    "with": DRAFTS,
    f"up to {FEW} questions": DRAFTS
    | {
        "num_speculative_tokens_per_batch_size": [
            (1, FEW, DRAFTS["num_speculative_tokens"]),
            (FEW + 1, 64, 0),
        ]
    },
}
"""vLLM's settings of drafts, for each engine."""


def engine(path: str, drafts: dict[str, Any] | None) -> VllmEngine:
    """An engine with drafts or without."""
    return VllmEngine(
        path,
        chat="template",
        context_length=2048,
        trust_remote_code=False,
        scores=False,
        arguments={"speculative_config": drafts},
    )


async def measure(path: str, form: AskingForm, documents: list[Document]) -> list[Row]:
    """Ask the engines by turns."""
    with ExitStack() as stack:
        sides = {name: engine(path, drafts) for name, drafts in SIDES.items()}
        for each in sides.values():
            stack.callback(each.close)
            await _asked(each, form, documents[:2], 2)  # the first is slower
        return [await _row(sides, form, documents[:size], most) for most, size in AT_ONCE.items()]


async def _row(
    sides: dict[str, VllmEngine], form: AskingForm, batch: list[Document], most: int
) -> Row:
    rates: dict[str, list[float]] = {name: [] for name in sides}
    told: dict[str, list[Annotated]] = {}
    for number in range(ROUNDS):
        names = list(sides)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            await sides[name].client.reset_prefix_cache()
            began = time.perf_counter()
            told[name] = await _asked(sides[name], form, batch, most)
            rates[name].append(len(batch) / (time.perf_counter() - began))
            say(f"round {number + 1}, {most} at once, {name}: {rates[name][-1]:.2f}")
    row: Row = {"documents at once": most}
    row |= {f"documents/s {name}": round(statistics.median(rates[name]), 2) for name in sides}
    plain, *drafting = sides
    answers = {name: [a.raw for found in told[name] for a in found.answers] for name in sides}
    for name in drafting:
        ratios = [b / a for a, b in zip(rates[plain], rates[name], strict=True)]
        same = sum(a == b for a, b in zip(answers[plain], answers[name], strict=True))
        row[f"ratio, {name}"] = round(statistics.median(ratios), 2)
        row[f"same answers, {name}, %"] = round(100 * same / len(answers[plain]), 1)
    return row


async def _asked(
    asked: VllmEngine, form: AskingForm, batch: list[Document], most: int
) -> list[Annotated]:
    annotator = Annotator(asked, [one.in_form(form) for one in assign(["ner"], {})], 512)
    slots = asyncio.Semaphore(most)

    async def annotate(document: Document) -> Annotated:
        async with slots:
            return await annotator.annotate(document)

    return list(await asyncio.gather(*map(annotate, batch)))


def main() -> None:
    """Measure and write the result."""
    model = models.resolve(DEMO_MODEL)
    form = models.asking_form(str(model.path))
    assert form is not None
    documents = [
        d for d, _ in islice(samples.corpus(DATA, "bc5cdr", "test"), max(AT_ONCE.values()))
    ]
    rows = asyncio.run(measure(str(model.path), form, documents))
    settings = {"model": DEMO_MODEL, "drafts": SIDES, "rounds": ROUNDS}
    write("drafts", rows, packages=(VLLM, "torch", "llguidance"), settings=settings)


if __name__ == "__main__":
    main()
