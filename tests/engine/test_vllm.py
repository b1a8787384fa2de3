"""The real engine on real abstracts: one vLLM on the embedded model, shared by these tests."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pytest

from taiyi_ray import models
from taiyi_ray.annotation import Annotated, Annotator
from taiyi_ray.engine.engine import Completion, Prompt
from taiyi_ray.engine.vllm import VllmEngine
from taiyi_ray.errors import EngineDied, QuestionError
from taiyi_ray.formats import documents, format_of
from taiyi_ray.records import SCHEMA, Document, passages
from taiyi_ray.tasks import TASKS, assign
from taiyi_ray.tasks.options import read_file
from taiyi_ray.tasks.task import Assignment
from taiyi_ray.tasks.template import SHORT_FORM
from tests.job.jobs import processes
from tests.samples import asked

# torch and vLLM warn of their own affairs while they are imported.
pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("default")]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CONTEXT = 1024
CONSTRAINED = [asked(task, document_first=True) for task in ("ner", "re")]
FREE = [dataclasses.replace(assignment, grammar=False) for assignment in CONSTRAINED]

T = TypeVar("T")


class Shared:
    """The engine with the loop that it lives in."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.engine = VllmEngine(
            str(models.resolve().path),
            chat="template",
            context_length=CONTEXT,
            trust_remote_code=False,
            scores=True,
            arguments={"max_num_seqs": 64},
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def annotate(
        self,
        found: list[Document],
        assignments: Sequence[Assignment] = CONSTRAINED,
        max_tokens: int = 32,
    ) -> list[Annotated]:
        async def all_of_them() -> list[Annotated]:
            annotator = Annotator(self.engine, assignments, max_tokens)
            return list(await asyncio.gather(*map(annotator.annotate, found)))

        return self.run(all_of_them())


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    shared = Shared()
    yield shared
    shared.engine.close()
    shared.runner.close()


def sample(name: str, number: int) -> list[Document]:
    path = EXAMPLES / name
    format_ = format_of(path.name)
    assert format_
    with path.open("rb") as stream:
        return list(documents(stream, path.name, format_, "sample", 0, number - 1))


def text_document(text: str, language: str = "en") -> Document:
    return Document("x", passages([("text", language, text)]))


def test_answers_on_real_abstracts_are_grounded_rows(shared):
    found = sample("pubmed-sample.xml", 4) + sample("chinese-sample.jsonl", 2)
    done = shared.annotate(found)
    rows = [a.row(unit="u", run_id="r", fingerprint="f") for a in done]
    pa.Table.from_pylist(rows, SCHEMA).validate(full=True)
    assert sum(len(a.annotations.mentions) for a in done) > 10
    for annotated in done:
        assert annotated.status in ("ok", "partial")
        text = annotated.document.text
        for mention in annotated.annotations.mentions:
            assert mention.grounded == "exact"
            assert text[mention.start : mention.end] == mention.text
        ids = {mention.id for mention in annotated.annotations.mentions}
        for relation in annotated.annotations.relations:
            assert relation.head and set(relation.head) <= ids
            assert relation.tail and set(relation.tail) <= ids


EVENTS = {"Regulation"}
"""The types of events in all.yaml."""

HEADS = {
    "tc": {"en": "Result: ", "zh": "上述文本被分类为："},
    "report": {"en": "The report is as follows:", "zh": "上述问诊对话的诊疗报告如下："},
}


def test_every_task_is_answered_in_its_form(shared):
    given = read_file(str(EXAMPLES / "tasks" / "all.yaml"))
    # The questions on a document share its text in the cache: this computes half the tokens.
    assignments = [
        dataclasses.replace(assignment, document_first=True)
        for assignment in assign(list(given), given)
    ]
    assert [a.task.name for a in assignments] == list(TASKS)
    found = sample("tasks/documents.jsonl", 9)
    done = shared.annotate(found, assignments, max_tokens=24)
    rows = [a.row(unit="u", run_id="r", fingerprint="f") for a in done]
    pa.Table.from_pylist(rows, SCHEMA).validate(full=True)
    answered, results = Counter(), Counter()
    for row in rows:
        text = "\n".join(passage["text"] for passage in row["passages"])
        assert row["status"] in ("ok", "partial"), row["errors"]
        for mention in row["mentions"]:
            assert mention["grounded"] == "exact"
            assert text[mention["start"] : mention["end"]] == mention["text"]
        for event in row["events"]:
            # The events of causal relations have no trigger.
            assert (event["trigger"] is None) == (event["type"] not in EVENTS)
            assert all(argument["mention"] is not None for argument in event["arguments"])
        for answer in row["answers"]:
            answered[answer["task"].partition(":")[0]] += 1
            # Under a grammar an answer can be cut or run in circles, but not be in another form.
            assert answer["error"] in (None, "cut_off", "repetition"), answer
            if (heads := HEADS.get(answer["task"])) and answer["raw"]:
                assert answer["raw"].startswith(heads[answer["language"]])
        for label in row["labels"]:
            results[label["task"]] += 1
            assert 0 < label["score"] <= 1
        results.update(written["task"].partition(":")[0] for written in row["texts"])
    assert set(answered) == set(TASKS)
    assert results["similarity"] == results["entailment"] == 3
    assert results["qa"] == 1
    assert results.keys() >= {"mt", "title", "summary", "dialogue"}
    other = rows[-1]
    assert (other["status"], other["answers"]) == ("ok", [])
    assert {error["where"] for error in other["errors"]} == set(TASKS)


def test_every_token_of_an_answer_has_its_place_and_every_mention_a_score(shared):
    found = sample("pubmed-sample.xml", 3) + sample("chinese-sample.jsonl", 1)
    done = shared.annotate(found)
    scored = [m for a in done for m in a.annotations.mentions]
    scores = [m.score for m in scored if m.score is not None]
    assert len(scores) > 0.9 * len(scored)
    assert all(0 < score <= 1 for score in scores)
    assert len(set(scores)) > 5
    questions = [question for document in found for question in FREE[0].questions(document)]

    async def answers() -> list[Completion]:
        engine = shared.engine
        asked = (engine.complete(question, engine.prompt(question), 24) for question in questions)
        return list(await asyncio.gather(*asked))

    for completion in shared.run(answers()):
        tokens = completion.scores
        assert tokens is not None and len(tokens.starts) == completion.output_tokens
        ends = [*tokens.starts[1:], len(tokens.text)]
        assert "".join(map(tokens.text.__getitem__, map(slice, tokens.starts, ends))) == (
            completion.text
        )


def test_the_second_task_finds_the_document_in_the_prefix_cache(shared):
    text = "Cocaine causes seizures in mice. " * 40
    (annotated,) = shared.annotate([text_document(text)])
    first, second = (next(a for a in annotated.answers if a.task == t) for t in ("ner", "re"))
    assert first.task == "ner"
    assert second.cached_tokens >= 128


def test_a_cut_answer_is_asked_again_and_salvaged(shared):
    documents = sample("pubmed-sample.xml", 3)
    done = shared.annotate(documents, max_tokens=16)
    again = [a for d in done for a in d.answers if a.attempt == 1]
    assert again, "no answer of 3 abstracts was longer than 16 tokens"
    for annotated in done:
        for mention in annotated.annotations.mentions:
            assert annotated.document.text[mention.start : mention.end] == mention.text


def test_a_document_longer_than_the_context_is_split(shared):
    sentences = [f"Patient {n} received naloxone against clonidine overdose." for n in range(150)]
    (annotated,) = shared.annotate([text_document(" ".join(sentences))], max_tokens=16)
    windows = {answer.window for answer in annotated.answers}
    assert len(windows) >= 3
    assert max(answer.prompt_tokens for answer in annotated.answers) <= CONTEXT - 16
    assert annotated.status in ("ok", "partial")


def test_the_head_of_an_answer_is_prompt(shared):
    found = sample("pubmed-sample.xml", 1) + sample("chinese-sample.jsonl", 1)
    apart = asked("ner", "disease,chemical", ask="apart", document_first=True)
    for grammar in (True, False):
        form = dataclasses.replace(apart, grammar=grammar).in_form(SHORT_FORM)
        done = shared.annotate(found, [form], max_tokens=16)
        for annotated in done:
            asked_ = form.questions(annotated.document)
            first = [answer for answer in annotated.answers if answer.attempt == 0]
            for question, answer in zip(asked_, first, strict=True):
                prompt = shared.engine.prompt(question)
                assert prompt.head == question.given
                assert answer.prompt_tokens == len(prompt.content)
                assert answer.raw.startswith(question.given)
                assert answer.error in (
                    (None, "cut_off", "repetition")
                    if grammar
                    else (None, "cut_off", "repetition", "not_in_text", "invalid")
                )
            for mention in annotated.annotations.mentions:
                if mention.start is not None:
                    text = annotated.document.text
                    assert text[mention.start : mention.end] == mention.text
                    assert mention.score is None or 0 < mention.score <= 1


def test_the_questions_on_a_document_share_blocks_of_32_tokens(shared):
    text = "Cocaine causes seizures in mice, and naloxone prevents them in rats. " * 12
    (annotated,) = shared.annotate([text_document(text)], max_tokens=16)
    first, second = (next(a for a in annotated.answers if a.task == t) for t in ("ner", "re"))
    assert second.cached_tokens % 32 == 0
    assert second.cached_tokens >= first.prompt_tokens // 2


def test_a_free_answer_is_aligned(shared):
    (annotated,) = shared.annotate(sample("pubmed-sample.xml", 1), FREE, max_tokens=24)
    assert {answer.task for answer in annotated.answers} == {"ner", "re"}
    assert all(answer.raw for answer in annotated.answers)
    for mention in annotated.annotations.mentions:
        if mention.start is None:
            assert mention.grounded == "none"
        else:
            assert mention.grounded in ("exact", "folded")
            assert annotated.document.text[mention.start : mention.end] == mention.text


def test_one_question_that_the_engine_refuses_harms_no_other(shared):
    (question,) = CONSTRAINED[0].questions(text_document("Aspirin helps."))
    broken = dataclasses.replace(question, grammar="start: (")
    prompt = shared.engine.prompt(question)

    async def both() -> list[Any]:
        return await asyncio.gather(
            shared.engine.complete(broken, prompt, 8),
            shared.engine.complete(question, prompt, 8),
            shared.engine.complete(question, Prompt(prompt.content * 40, prompt.tokens * 40), 8),
            return_exceptions=True,
        )

    refused, answered, too_long = shared.run(both())
    assert isinstance(refused, QuestionError)
    assert isinstance(too_long, QuestionError)
    assert answered.output_tokens > 0


def test_a_killed_engine_is_told_from_a_refused_question(shared):
    """The last test: it takes the engine with it."""
    (question,) = CONSTRAINED[0].questions(text_document("Aspirin helps."))
    mine = [p for p in processes("VLLM::EngineCore") if _parent(int(p.split()[0])) == os.getpid()]
    os.kill(int(mine[0].split()[0]), signal.SIGKILL)
    with pytest.raises(EngineDied):
        shared.run(shared.engine.complete(question, shared.engine.prompt(question), 8))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
