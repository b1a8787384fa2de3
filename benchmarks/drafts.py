"""Drafts by n-grams: what they bring with few and with many questions at once.

Two engines on the shipped model, one that drafts and one that does not, are asked by turns. Their
answers are compared: drafts are verified, so they should be the same.
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


async def measure(
    path: str, form: AskingForm, documents: list[Document], drafts: dict[str, Any]
) -> list[Row]:
    """Ask both engines by turns."""
    with ExitStack() as stack:
        sides = {"without": engine(path, None), "with": engine(path, drafts)}
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
        for name in sorted(sides, reverse=bool(number % 2)):
            await sides[name].client.reset_prefix_cache()
            began = time.perf_counter()
            told[name] = await _asked(sides[name], form, batch, most)
            rates[name].append(len(batch) / (time.perf_counter() - began))
            say(f"round {number + 1}, {most} at once, {name}: {rates[name][-1]:.2f}")
    answers = [[a.raw for found in told[name] for a in found.answers] for name in sides]
    same = sum(a == b for a, b in zip(*answers, strict=True))
    ratios = [b / a for a, b in zip(rates["without"], rates["with"], strict=True)]
    return {
        "documents at once": most,
        **{f"documents/s {name}": round(statistics.median(rates[name]), 2) for name in sides},
        "ratio": round(statistics.median(ratios), 2),
        "same answers, %": round(100 * same / len(answers[0]), 1),
    }


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
    rows = asyncio.run(measure(str(model.path), form, documents, DRAFTS))
    settings = {"model": DEMO_MODEL, "drafts": DRAFTS, "rounds": ROUNDS}
    write("drafts", rows, packages=(VLLM, "torch", "llguidance"), settings=settings)


if __name__ == "__main__":
    main()
