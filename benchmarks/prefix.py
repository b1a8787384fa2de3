"""Several questions on one document: a shared prefix against separate prompts, asked in two orders.

A text before the instruction is a prefix that all questions on it share; the engine computes it
once if it still has it. The annotator asks all at once; the other way is to ask the first question
alone, so that the others are sure to find the prefix there.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import corpora
from benchmarks.bare import VLLM
from benchmarks.measure import Row, in_turn, write
from taiyi_ray import models
from taiyi_ray.annotation import Annotator
from taiyi_ray.engine.engine import Completion, Prompt
from taiyi_ray.engine.vllm import VllmEngine
from taiyi_ray.records import Document
from taiyi_ray.tasks import assign
from taiyi_ray.tasks.task import Question
from taiyi_ray.tasks.vocabulary import MENTION_TYPES

DOCUMENTS = 8
ROUNDS = 2
MAX_TOKENS = 16
CONTEXT = 2048
ASKED = {2: (["ner", "re"], True), 5: (["ner"], False)}
"""Tasks, and whether about all types together: two questions a document, or five on a type each."""


class OneChance(VllmEngine):
    """An answer that is cut counts as done: asked again it would find its own prompt cached."""

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        completion = await super().complete(question, prompt, max_tokens)
        return replace(completion, finish_reason="stop")

    async def forget(self) -> None:
        """Empty the prefix cache."""
        await self.client.reset_prefix_cache()


class OneFirst(Annotator):
    """Asks the first question on a document, and the others when it is answered."""

    async def _ask_all(
        self, asked: Sequence[tuple[Any, Any, Any]], document: Document
    ) -> list[Any]:
        first = await super()._ask_all(asked[:1], document)
        return first + await super()._ask_all(asked[1:], document)


LAYOUTS = {"document first": True, "instruction first": False}
ORDERS: dict[str, type[Annotator]] = {"all at once": Annotator, "one, then the others": OneFirst}


class Sides:
    """The documents and the engine; each side notes the share of prompt tokens that was cached."""

    def __init__(self, engine: OneChance, documents: Sequence[Document]) -> None:
        self._engine = engine
        self._documents = documents
        self.cached: dict[str, list[float]] = {}

    async def measure(self, questions: int, layout: str, order: str) -> float:
        """Documents a second."""
        tasks, together = ASKED[questions]
        types = {"types": MENTION_TYPES[:5], "ask": "together" if together else "apart"}
        assignments = [
            replace(assignment, document_first=LAYOUTS[layout])
            for assignment in assign(tasks, {"ner": types}, grammar=False)
        ]
        annotator = ORDERS[order](self._engine, assignments, MAX_TOKENS)
        await self._engine.forget()
        clock = asyncio.get_running_loop().time
        began = clock()
        done = await asyncio.gather(*map(annotator.annotate, self._documents))
        seconds = clock() - began
        answers = [answer for annotated in done for answer in annotated.answers]
        assert len(answers) == questions * len(self._documents), "a question too many or too few"
        share = sum(a.cached_tokens for a in answers) / sum(a.prompt_tokens for a in answers)
        self.cached.setdefault(_name(questions, layout, order), []).append(share)
        return len(self._documents) / seconds


def _name(questions: int, layout: str, order: str) -> str:
    return f"{questions} questions, {layout}, {order}"


async def _started(model: models.Model) -> OneChance:
    # AsyncLLM belongs to the loop that runs when it is made.
    return OneChance(
        str(model.path),
        chat="template",
        context_length=CONTEXT,
        trust_remote_code=False,
        scores=False,
        arguments={},
    )


def main() -> None:
    """Measure and write the result."""
    with tempfile.TemporaryDirectory() as folder:
        documents = corpora.read(corpora.pubmed(Path(folder), DOCUMENTS))
    ways = [(n, layout, order) for n in ASKED for layout in LAYOUTS for order in ORDERS]
    with asyncio.Runner() as runner:
        engine = runner.run(_started(models.resolve()))
        sides = Sides(engine, documents)
        runner.run(sides.measure(*ways[0]))  # the first run of an engine is slower
        rates = in_turn(
            {
                _name(*way): partial(lambda way: runner.run(sides.measure(*way)), way)
                for way in ways
            },
            ROUNDS,
        )
        engine.close()
    rows: list[Row] = [
        {
            "questions": questions,
            "prompt": layout,
            "asked": order,
            "documents/s": median(rates[name]),
            "cached, %": 100 * median(sides.cached[name]),
        }
        for questions, layout, order in ways
        for name in [_name(questions, layout, order)]
    ]
    write(
        "prefix",
        rows,
        packages=(VLLM, "torch"),
        settings={
            "documents": DOCUMENTS,
            "rounds": ROUNDS,
            "max_tokens": MAX_TOKENS,
            "rates": rates,
        },
    )


if __name__ == "__main__":
    main()
