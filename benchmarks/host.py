"""Host CPU of the job by step, in the job's own code: from the bytes of the input to the commit.

Counting, reading, annotating and committing run as in the job, in one process and without Ray, with
nine questions on a document, each about one type, in the form of the shipped model; in place of
vLLM's AsyncLLM stands one that has every answer at hand. What vLLM adds to a question on the host
is measured apart: compiling the grammars, and its front end with a real engine.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import starmap
from pathlib import Path
from statistics import mean, median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from benchmarks import corpora
from benchmarks.bare import VLLM
from benchmarks.measure import Row, say, write
from taiyi_ray import models
from taiyi_ray.annotation import Annotated
from taiyi_ray.config import DEMO_MODEL, EMBEDDED_MODEL, AnnotateConfig
from taiyi_ray.corpus import plan, sources
from taiyi_ray.engine.fake import FakeEngine
from taiyi_ray.engine.vllm import VllmEngine, sampling_parameters
from taiyi_ray.grounding import Locator
from taiyi_ray.job import workers
from taiyi_ray.job.asks import Ask
from taiyi_ray.job.output import JobOutput
from taiyi_ray.records import Annotations, Document
from taiyi_ray.tasks import TASKS, ner
from taiyi_ray.tasks.task import Question

DOCUMENTS = 80
"""More than those whose tokens an engine keeps, so that every round tokenises all of them anew."""

ROUNDS = 5
CONTEXT = 8192
TOKENS = 64
"""The most tokens of an answer with which vLLM's front end is measured."""

IN_FRONT = 90
"""The questions with which that is measured."""

TOTAL = "all of this"


class Steps:
    """CPU time by step; what a step calls of another step counts there.

    Each thread has its own clock, because prompts are made in threads.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._of_thread = threading.local()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what happens inside."""
        if not hasattr(self._of_thread, "inner"):
            self._of_thread.inner = []
        inner: list[float] = self._of_thread.inner
        inner.append(0.0)
        began = time.thread_time()
        try:
            yield
        finally:
            took = time.thread_time() - began
            self.seconds[name] += took - inner.pop()
            if inner:
                inner[-1] += took

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted under this name."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            with self.step(name):
                return function(*arguments, **named)

        return call


@dataclass(frozen=True)
class Corpus:
    """A file that the job reads, and the answer to each question on its documents."""

    name: str
    path: Path
    answer: Callable[[Question, Document], str]

    def config(self, output: str = "-") -> AnnotateConfig:
        """Nine types of mentions, each in a question of its own."""
        types = [term.name for term in ner.Options().types]
        return AnnotateConfig(
            inputs=[str(self.path)],
            output=output,
            context_length=CONTEXT,
            tasks=["ner"],
            types=types,
            ask="apart",
            model=EMBEDDED_MODEL,  # the shipped model asks about Chinese texts nothing
            wording="short",
        )


def all_corpora(folder: Path) -> list[Corpus]:
    """English as PubMed gives it, English with gold answers, Chinese."""
    gold_path, gold = corpora.gold(folder, DOCUMENTS)

    def target(question: Question, document: Document) -> str:
        found = gold.get(str(document.document_id), Annotations())
        return TASKS[question.task].target(question, found)

    return [
        Corpus("PubMed", corpora.pubmed(folder, DOCUMENTS), _made_up),
        Corpus("BC5CDR", gold_path, target),
        Corpus("Chinese", corpora.chinese(folder, DOCUMENTS), _made_up),
    ]


def _made_up(question: Question, document: Document) -> str:
    engine = FakeEngine(CONTEXT)
    return asyncio.run(engine.complete(question, engine.prompt(question), CONTEXT)).text


# --------------------------------------------------------------------------------- the job's steps


class AtHand:
    """In place of AsyncLLM: the answer to each prompt is there at once."""

    def __init__(self, answers: dict[tuple[int, ...], str]) -> None:
        self._answers = answers

    async def generate(
        self, prompt: dict[str, list[int]], params: object, number: str, lora_request: None
    ) -> AsyncIterator[object]:
        text = self._answers[tuple(prompt["prompt_token_ids"])]
        answer = SimpleNamespace(text=text, finish_reason="stop", token_ids=[], logprobs=None)
        yield SimpleNamespace(outputs=[answer], num_cached_tokens=0)

    def shutdown(self) -> None: ...


def vllm_engine(model: models.Model) -> VllmEngine:
    """The product's engine."""
    return VllmEngine(
        str(model.path),
        chat="template",
        context_length=CONTEXT,
        trust_remote_code=False,
        scores=False,
        arguments={},
    )


def engine_at_hand(model: models.Model, corpus: Corpus) -> VllmEngine:
    """The product's engine without vLLM's: it knows the answers to the questions on a corpus."""
    with patch("vllm.v1.engine.async_llm.AsyncLLM.from_engine_args"):
        engine = vllm_engine(model)
    answers = {}
    for question, document in corpora.questions(corpus.config()):
        prompt = engine.prompt(question)
        answer = corpus.answer(question, document).removeprefix(prompt.head)
        answers[tuple(prompt.content)] = answer
    engine.client = AtHand(answers)
    return engine


def job(corpus: Corpus, engine: VllmEngine) -> dict[str, float]:
    """Do the job on a corpus; return the seconds of each step."""
    steps = Steps()
    with ExitStack() as stack:
        for step, owner, name in (
            ("build the grammar", ner, "mentions_grammar"),
            ("tokenise", VllmEngine, "prompt"),
            ("locate", Locator, "__init__"),
            ("locate", Locator, "find"),
            ("make the row", Annotated, "row"),
            ("write", JobOutput, "commit"),
        ):
            timed = steps.timed(step, getattr(owner, name))
            stack.enter_context(patch.object(owner, name, timed))
        config = corpus.config(stack.enter_context(tempfile.TemporaryDirectory()))
        assignments = [
            replace(
                assignment,
                task=replace(
                    assignment.task,
                    questions=steps.timed("render", assignment.task.questions),
                    read=steps.timed("parse the answer", assignment.task.read),
                ),
            )
            for assignment in corpora.assignments(config)
        ]
        stack.enter_context(patch.object(workers, "model_here", lambda *_: None))
        stack.enter_context(patch.object(workers, "start", lambda *_: engine))
        with steps.step("count"):
            planned = _plan(corpus)
        asks = {"": Ask(assignments, plan.Identity("print", {}))}
        actor = workers.AnnotateUnits(config, asks, "", "run")

        async def annotate(row: dict[str, Any]) -> None:
            with steps.step("read"):
                (read,) = workers.read_units({"units": [row]}, sources.SOURCE_KINDS)
            with steps.step("asyncio, requests, merge"):
                async for receipt in actor(pa.Table.from_pylist([read])):
                    assert not receipt["error"][0] and not receipt["failed"][0], receipt

        for unit in planned.units():
            row = workers.unit_row(unit, planned.sources[unit.source])
            asyncio.run(annotate(row))
    steps.seconds[TOTAL] = sum(steps.seconds.values())
    return steps.seconds


def _plan(corpus: Corpus) -> plan.Plan:
    """All in one unit: the units of a large corpus hold many documents."""
    files = sources.find([str(corpus.path)]).files
    scan = partial(starmap, sources.SourceFile.record_sizes)
    with patch.object(plan, "UNITS_AN_ENGINE", 1):
        return plan.Plan([plan.extend(plan.Plan([]), files, None, 1, scan, {})])


# ------------------------------------------------------------------------------ what vLLM adds


def compiling(model: models.Model, corpus: Corpus) -> dict[str, float]:
    """Seconds of vLLM's two passes over the grammars: its front end's check, its engine's.

    Each grammar is checked and compiled once, however many questions have it.
    """
    import llguidance.hf
    from vllm.v1.structured_output import backend_guidance

    tokenizer = llguidance.hf.from_tokenizer(models.load_tokenizer(model))
    steps = Steps()
    grammars = {question.grammar for question, _ in corpora.questions(corpus.config())}
    for grammar in grammars - {None}:
        params = sampling_parameters(grammar, TOKENS, [])
        with steps.step("apart: the grammar, checked in our process"):
            backend_guidance.validate_guidance_grammar(params, tokenizer)
        with steps.step("apart: the grammar, compiled by vLLM's engine"):
            llguidance.LLMatcher(tokenizer, grammar)
    return steps.seconds


async def front_end(engine: VllmEngine, corpus: Corpus) -> dict[str, float]:
    """Seconds of this process a question while vLLM answers, which it does in another.

    This process sees each token of an answer, so the steps' names say how many there were.
    """
    seconds: dict[str, float] = {}
    asked = [question for question, _ in corpora.questions(corpus.config())][:IN_FRONT]
    for name, grammar in (("without grammars", False), ("with grammars", True)):
        sent = [
            (question if grammar else replace(question, grammar=None), engine.prompt(question))
            for question in asked
        ]
        began = time.process_time()
        answers = await asyncio.gather(*(engine.complete(*one, TOKENS) for one in sent))
        took = time.process_time() - began
        tokens = mean(answer.output_tokens for answer in answers)
        step = f"apart: vLLM's front end, {tokens:.0f} tokens an answer, {name}"
        seconds[step] = took / len(asked)
    return seconds


# ------------------------------------------------------------------------------------- the table


def described(corpus: Corpus) -> Row:
    """How much the steps have to do."""
    asked = corpora.questions(corpus.config())
    return {
        "questions": len(asked),
        "characters": round(mean(len(question.window.text) for question, _ in asked)),
        "answer": round(mean(len(corpus.answer(*one)) for one in asked)),
    }


def main() -> None:
    """Measure and write the result."""
    model = models.resolve(EMBEDDED_MODEL)
    steps: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        found = all_corpora(Path(folder))
        for corpus in found:
            engine = engine_at_hand(model, corpus)
            job(corpus, engine)  # the first run fills caches
            rounds = [job(corpus, engine) for _ in range(ROUNDS)]
            medians = {step: median(r[step] for r in rounds) for step in rounds[0]}
            steps[corpus.name] = medians | compiling(model, corpus)
            say(f"{corpus.name}: {medians[TOTAL]:.3f} s")
        real = runner.run(_started(models.resolve(DEMO_MODEL)))
        each = runner.run(front_end(real, found[0]))
        real.close()
        sizes = {corpus.name: described(corpus) for corpus in found}
        count = int(sizes[found[0].name]["questions"])
        steps[found[0].name] |= {step: seconds * count for step, seconds in each.items()}
    rows = [
        {"ms a question": step}
        | {
            name: 1000 * s[step] / sizes[name]["questions"] if step in s else None
            for name, s in steps.items()
        }
        for step in steps[found[0].name]
    ]
    write(
        "host",
        rows,
        packages=(VLLM, "llguidance", "transformers", "pyarrow"),
        settings={"rounds": ROUNDS, "documents": DOCUMENTS, "tokens": TOKENS} | sizes,
    )


async def _started(model: models.Model) -> VllmEngine:
    return vllm_engine(model)  # AsyncLLM belongs to the loop that runs when it is made


if __name__ == "__main__":
    main()
