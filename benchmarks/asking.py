"""What fewer tokens bring: nine mention types apart on gold, from the plain way to the short form.

The steps: small blocks of the prefix cache, one compilation of a grammar for all questions that
have it, the head of an answer in the prompt, the short wording. Every step runs in an engine of its
own; the steps take turns, so that a slow minute of the machine slows all of them.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from benchmarks.bare import VLLM
from benchmarks.gold import TYPES, held_out
from benchmarks.measure import Row, say, write
from benchmarks.tune import TUNED, tune
from taiyi_ray.annotation import Annotated, Annotator
from taiyi_ray.engine.engine import Completion, Prompt
from taiyi_ray.engine.vllm import VllmEngine
from taiyi_ray.metrics import Quality
from taiyi_ray.records import Annotations
from taiyi_ray.tasks import ner
from taiyi_ray.tasks.task import Assignment, Counts, Question
from taiyi_ray.tasks.template import PLAIN_FORM, SHORT_FORM, AskingForm
from tests.samples import Gold

CONTEXT = 2048
MAX_TOKENS = 192
DOCUMENTS = {"BC5CDR": 16, "NCBI disease": 16, "cMedQANER": 40}
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Step:
    """A way to ask, which has what the steps before it have."""

    name: str
    form: AskingForm = PLAIN_FORM
    block: int = 32
    once: bool = True
    """Whether a grammar is checked and compiled once."""


STEPS = (
    Step("plain, blocks of 128", block=128, once=False),
    Step("+ blocks of 32", once=False),
    Step("+ a grammar once"),
    Step("+ head in the prompt", AskingForm(wording=1, headed=True)),
    Step("+ short wording", SHORT_FORM),
)


class OneChance(VllmEngine):
    """An answer that is cut counts as it is: the steps are compared on one answer a question."""

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        completion = await super().complete(question, prompt, max_tokens)
        return replace(completion, finish_reason="stop")


@contextmanager
def engine(step: Step, path: str) -> Iterator[OneChance]:
    """The engine of a step; a plain one is vLLM's own in all that concerns grammars."""
    from vllm import SamplingParams

    arguments: dict[str, Any] = {"block_size": step.block}
    with ExitStack() as stack:
        if not step.once:
            arguments["scheduler_cls"] = None
            stack.enter_context(
                patch("taiyi_ray.engine.vllm.checked_parameters", lambda: SamplingParams)
            )
        started = OneChance(
            path,
            chat="template",
            context_length=CONTEXT,
            trust_remote_code=False,
            scores=False,
            arguments=arguments,
        )
        stack.callback(started.close)
        yield started


def assignment(step: Step) -> Assignment:
    """All nine types apart, the document first."""
    return Assignment(ner.TASK, ner.Options(), True, True).in_form(step.form)


@dataclass(slots=True)
class Measured:
    """What a step came to on one corpus: the rates of the rounds, and the first round's answers."""

    rates: list[float]
    answers: list[Annotated]


async def _round(asked: OneChance, step: Step, batch: list[Gold]) -> tuple[float, list[Annotated]]:
    annotator = Annotator(asked, [assignment(step)], MAX_TOKENS)
    began = time.perf_counter()
    found = await asyncio.gather(*(annotator.annotate(document) for document, _ in batch))
    return time.perf_counter() - began, list(found)


def measure(path: str, sizes: dict[str, int], rounds: int) -> dict[tuple[str, str], Measured]:
    """The rounds of all steps on all corpora."""
    made: dict[tuple[str, str], Measured] = {}
    corpora = {corpus: held_out(corpus, size) for corpus, size in sizes.items()}
    for number in range(rounds):
        for step in STEPS[number % len(STEPS) :] + STEPS[: number % len(STEPS)]:
            with asyncio.Runner() as runner, engine_in(runner, step, path) as started:
                runner.run(_round(started, step, corpora["BC5CDR"][-1:]))  # the first is slower
                for corpus, batch in corpora.items():
                    runner.run(_forget(started))
                    seconds, found = runner.run(_round(started, step, batch))
                    one = made.setdefault((step.name, corpus), Measured([], found))
                    one.rates.append(len(batch) / seconds)
                    say(f"round {number + 1}, {step.name}, {corpus}: {one.rates[-1]:.3f}")
    return made


@contextmanager
def engine_in(runner: asyncio.Runner, step: Step, path: str) -> Iterator[OneChance]:
    """Start an engine in the loop of a runner, to which it belongs."""
    stack = ExitStack()

    async def start() -> OneChance:
        return stack.enter_context(engine(step, path))

    with stack:
        yield runner.run(start())


async def _forget(asked: OneChance) -> None:
    await asked.client.reset_prefix_cache()


def _row(step: Step, made: dict[tuple[str, str], Measured], sizes: dict[str, int]) -> Row:
    counts = {corpus: Counts(0, 0, 0) for corpus in sizes}
    absent = named = 0
    for corpus, size in sizes.items():
        types = {term.name for term in TYPES[corpus]}
        pairs = zip(held_out(corpus, size), made[step.name, corpus].answers, strict=True)
        for (_, gold), annotated in pairs:
            mentions = annotated.annotations.mentions
            asked = Annotations([m for m in mentions if m.type in types])
            one, so_far = ner.score(asked, gold), counts[corpus]
            counts[corpus] = Counts(so_far.tp + one.tp, so_far.fp + one.fp, so_far.fn + one.fn)
            without = types - {m.type for m in gold.mentions}
            absent += len(without)
            named += len(without & {m.type for m in asked.mentions})
    every = [m for (name, _), m in made.items() if name == step.name]
    told = [answer for one in every for annotated in one.answers for answer in annotated.answers]
    documents = sum(sizes.values())
    total = Counts(*(sum(getattr(c, n) for c in counts.values()) for n in ("tp", "fp", "fn")))
    return {
        "step": step.name,
        "documents/s": {c: round(statistics.median(made[step.name, c].rates), 3) for c in sizes}[
            "BC5CDR"
        ],
        "prompt tokens computed/document": round(
            sum(a.prompt_tokens - a.cached_tokens for a in told) / documents
        ),
        "steps/question": round(sum(a.output_tokens for a in told) / len(told), 1),
        **{f"F1 {corpus}": round(Quality.of(c).f1, 1) for corpus, c in counts.items()},
        "F1": round(Quality.of(total).f1, 1),
        "absent types named, %": round(100 * named / absent, 1) if absent else None,
    }


def main(model: str | None = None) -> None:
    """Measure all steps and write the result.

    Args:
        model: the folder of the model; by default the fine-tuned copy, made first where needed.
    """
    if model is None and not TUNED.is_dir():
        tune(TUNED)
    made = measure(model or str(TUNED), DOCUMENTS, ROUNDS)
    rows = [_row(step, made, DOCUMENTS) for step in STEPS]
    rates = {f"{name}, {corpus}": one.rates for (name, corpus), one in made.items()}
    settings = {"documents": DOCUMENTS, "max_tokens": MAX_TOKENS, "rates": rates, "model": model}
    write("asking", rows, packages=(VLLM, "torch", "llguidance"), settings=settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
