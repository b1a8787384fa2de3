"""How much work the host does, in counts that no busy machine can change."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jinja2
import pytest

from taiyi_ray.annotate import workers
from taiyi_ray.annotator import Annotator
from taiyi_ray.engine import Completion, Prompt
from taiyi_ray.engine.fake import FakeEngine
from taiyi_ray.formats import documents, format_of
from taiyi_ray.grounding import Locator
from taiyi_ray.records import Document
from taiyi_ray.tasks.task import Question
from tests.annotate.jobs import annotate, corpus
from tests.annotate.test_workers import planned
from tests.samples import asked

# As with any two questions.
ASSIGNMENTS = [asked(task, document_first=True) for task in ("ner", "re")]


def sample(tmp_path, number: int) -> list[Document]:
    path = corpus(tmp_path / f"{number}.jsonl", number, words=120)
    format_ = format_of(path.name)
    assert format_ is not None
    with path.open("rb") as stream:
        return list(documents(stream, path.name, format_, "sample", 0, number - 1))


class Noting(FakeEngine):
    """Notes what it renders and what it is asked."""

    def __init__(self, context_limit: int = 8192) -> None:
        super().__init__(context_limit)
        self.prompts: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[tuple[str, str]] = Counter()
        self.answers: list[str] = []
        self.tokens = 0

    def prompt(self, question: Question) -> Prompt:
        self.prompts[question.task, question.window.text] += 1
        return super().prompt(question)

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        self.sent[question.task, question.window.text] += 1
        self.tokens += prompt.tokens
        completion = await super().complete(question, prompt, max_tokens)
        self.answers.append(completion.text)
        return completion


async def through_annotator(engine: FakeEngine, found: list[Document]) -> None:
    annotator = Annotator(engine, ASSIGNMENTS, 512)
    await asyncio.gather(*map(annotator.annotate, found))


async def bare(engine: FakeEngine, found: list[Document]) -> None:
    """The same questions and answers, and nothing else."""
    asked = [q for d in found for a in ASSIGNMENTS for q in a.questions(d)]
    await asyncio.gather(*(engine.complete(q, engine.prompt(q), 512) for q in asked))


def calls(work: Callable[[], object]) -> int:
    """How many Python functions `work` calls."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def counting(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Callable[[], int]:
    """Count the calls of a method; ask the result how many there were."""
    seen = 0
    function = getattr(owner, name)

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal seen
        seen += 1
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, counted)
    return lambda: seen


def test_each_question_is_rendered_tokenised_and_sent_once(tmp_path, monkeypatch):
    found = sample(tmp_path, 12)
    rendered = counting(monkeypatch, jinja2.Template, "render")
    engine = Noting()
    asyncio.run(through_annotator(engine, found))
    assert set(engine.prompts.values()) == set(engine.sent.values()) == {1}
    assert set(engine.prompts) == set(engine.sent)
    assert rendered() == len(engine.sent) == len(found) * len(ASSIGNMENTS)


def test_each_answer_takes_one_locator_and_each_surface_one_search(tmp_path, monkeypatch):
    found = sample(tmp_path, 12)
    made = counting(monkeypatch, Locator, "__init__")
    searches = counting(monkeypatch, Locator, "find")
    engine = Noting()
    asyncio.run(through_annotator(engine, found))
    assert made() == len(engine.answers)
    signs = str.maketrans(dict.fromkeys("[]:：\n,", ";"))
    parts = [answer.translate(signs).split(";") for answer in engine.answers]
    assert 0 < searches() <= sum(len({p.strip() for p in part}) for part in parts)


def test_each_record_is_parsed_once(tmp_path, monkeypatch):
    path = corpus(tmp_path / "a.jsonl", 12)
    format_ = format_of(path.name)
    assert format_ is not None
    parsed = []

    def parse(record):
        parsed.append(record)
        return format_.parse(record)

    monkeypatch.setattr(workers, "named", lambda name: replace(format_, parse=parse))
    units = {"units": [planned(path, 0, 4), planned(path, 5, 11)]}
    assert [read["error"] for read in workers.read_units(units)] == ["", ""]
    assert len(parsed) == 12


def python_calls(run: Callable[..., Any], found: list[Document]) -> int:
    return calls(lambda: asyncio.run(run(FakeEngine(8192), found)))


def test_work_grows_with_the_documents_and_no_faster(tmp_path):
    few, many = sample(tmp_path, 20), sample(tmp_path, 80)
    python_calls(through_annotator, few)  # fills caches
    assert python_calls(through_annotator, many) < 4.2 * python_calls(through_annotator, few)


def test_annotating_takes_at_most_two_and_a_half_times_the_calls_of_a_bare_loop(tmp_path):
    found = sample(tmp_path, 40)
    python_calls(through_annotator, found)  # fills caches
    assert python_calls(through_annotator, found) < 2.5 * python_calls(bare, found)


def test_the_job_sends_what_a_bare_loop_sends(ray_cluster, monkeypatch, tmp_path):
    for name, value in ray_cluster.items():
        monkeypatch.setenv(name, value)
    engine, output = Noting(), tmp_path / "out"
    asyncio.run(bare(engine, sample(tmp_path, 60)))
    annotate(tmp_path / "60.jsonl", "-o", output, "--engine", "fake")
    run = json.loads((output / "run.json").read_text())
    assert run["prompt_tokens"] == engine.tokens
    assert run["totals"]["tokens"]["questions"] == engine.sent.total() == 60 * len(ASSIGNMENTS)
