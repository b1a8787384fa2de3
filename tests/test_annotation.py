"""Documents to rows: attempts, salvage, statuses, windows, and any answer and document."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray.annotation import Annotated, Annotator, failed, guarded
from taiyi_ray.engine.engine import Completion, Prompt
from taiyi_ray.engine.fake import FakeEngine
from taiyi_ray.errors import ConfigError, EngineDied, QuestionError, ServerGone
from taiyi_ray.records import (
    COREFERENCE,
    SCHEMA,
    Annotations,
    Document,
    Failure,
    Label,
    Text,
    passages,
)
from taiyi_ray.tasks import TASKS
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Assignment, Question
from taiyi_ray.tasks.vocabulary import terms
from tests.samples import asked, english, every

Reply = tuple[str, str] | Exception
"""Text and finish reason."""


class Scripted:
    """An engine that answers as told; a token is a character. It notes what it was asked."""

    question_slots = 4

    def __init__(
        self, reply: Callable[[Question, int], Reply], context_length: int = 10_000
    ) -> None:
        self.context_length = context_length
        self.rendered: list[tuple[str, str, int]] = []
        self.asked: list[tuple[str, int]] = []
        self._reply = reply

    def prompt(self, question: Question) -> Prompt:
        self.rendered.append((question.task, question.language, question.window.index))
        return Prompt(None, len(question.messages[0]["content"]))

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        self.asked.append((question.task, max_tokens))
        await asyncio.sleep(0)
        reply = self._reply(question, len(self.asked) - 1)
        if isinstance(reply, Exception):
            raise reply
        return Completion(reply[0], reply[1], prompt.tokens, 0, len(reply[0]))  # type: ignore[arg-type]

    def close(self) -> None: ...


def replies(*given: Reply) -> Callable[[Question, int], Reply]:
    """These replies in order, whatever is asked."""
    return lambda question, number: given[number]


def annotate(
    engine: Any, document: Document, tasks: Sequence[str] = ("ner",), max_tokens: int = 100
) -> Annotated:
    annotator = Annotator(engine, every(*tasks), max_tokens)
    annotated = asyncio.run(annotator.annotate(document))
    assert annotator.in_flight == set()
    return annotated


def surfaces(annotated: Annotated) -> list[str]:
    return [mention.text for mention in annotated.annotations.mentions]


def row(annotated: Annotated) -> dict[str, Any]:
    """The row as Parquet would hold it."""
    made = annotated.row(unit="s/0-0", run_id="r", fingerprint="f")
    assert set(made) == set(SCHEMA.names)
    table = pa.Table.from_pylist([made], schema=SCHEMA)
    table.validate(full=True)
    back: dict[str, Any] = table.to_pylist()[0]
    return back


# ---------------------------------------------------------------------------------------- attempts

PAIN = english("pain and fever")


def test_whole_answer_is_asked_once() -> None:
    engine = Scripted(replies(("disease: pain; fever", "stop")))
    annotated = annotate(engine, PAIN)
    assert (annotated.status, annotated.errors) == ("ok", [])
    assert [(m.id, m.type, m.text, m.start, m.end) for m in annotated.annotations.mentions] == [
        (0, "disease", "pain", 0, 4),
        (1, "disease", "fever", 9, 14),
    ]
    assert engine.asked == [("ner", 100)]
    assert engine.rendered == [("ner", "en", 0)]
    (answer,) = row(annotated)["answers"]
    assert answer == {
        "task": "ner",
        "types": ["disease", "gene"],
        "language": "en",
        "window": 0,
        "attempt": 0,
        "raw": "disease: pain; fever",
        "prompt_tokens": answer["prompt_tokens"],
        "cached_tokens": 0,
        "output_tokens": 20,
        "finish_reason": "stop",
        "error": None,
    }


@pytest.mark.parametrize("grammar", [True, False])
def test_an_answer_is_read_and_kept_with_the_head_that_the_prompt_held(grammar: bool) -> None:
    plain = asked("ner", "disease,gene", ask="apart", grammar=grammar)
    document = english("Warfarin and heparin eased the seizures of patients with thrombosis.")
    found = {}
    for headed in (False, True):
        engine = FakeEngine(4096, scores=True)
        annotator = Annotator(engine, [replace(plain, headed=headed)], 100)
        found[headed] = asyncio.run(annotator.annotate(document))
    told, before = found[True].answers, found[False].answers
    assert [answer.error for answer in told] == [None, None]
    heads = [
        f"Here are the {name} entities mentioned in the text: "
        for name in ("disease", "gene or protein")
    ]
    for answer, other, head in zip(told, before, heads, strict=True):
        assert answer.raw == (other.raw if other.raw != "none" else head + "none")
        assert answer.output_tokens == -(-(len(answer.raw) - len(head.rstrip())) // 4)
    assert surfaces(found[True]) == surfaces(found[False]) != []
    assert all(mention.score for mention in found[True].annotations.mentions)


def test_a_cut_answer_behind_a_head_gives_its_whole_mentions() -> None:
    (question,) = replace(asked("ner", "disease"), headed=True).questions(PAIN)
    text = f"{question.given} pain; fev"
    parsed = TASKS["ner"].parse(text, question, PAIN, cut=True)
    assert [m.text for m in parsed.annotations.mentions] == ["pain"]
    nothing_yet = TASKS["ner"].parse(question.given, question, PAIN, cut=True)
    assert nothing_yet.annotations == Annotations()


def test_cut_answer_is_asked_for_once_more_with_twice_the_tokens() -> None:
    engine = Scripted(replies(("disease: pa", "length"), ("disease: pain; fever", "stop")))
    annotated = annotate(engine, PAIN)
    assert engine.asked == [("ner", 100), ("ner", 200)]
    assert engine.rendered == [("ner", "en", 0)]
    assert [(a.attempt, a.error) for a in annotated.answers] == [(0, "cut_off"), (1, None)]
    assert (annotated.status, surfaces(annotated)) == ("ok", ["pain", "fever"])


def test_answer_that_is_cut_twice_gives_its_whole_mentions() -> None:
    engine = Scripted(replies(("disease: pa", "length"), ("disease: pain; fev", "length")))
    annotated = annotate(engine, PAIN)
    assert [(a.attempt, a.raw, a.error) for a in annotated.answers] == [
        (0, "disease: pa", "cut_off"),
        (1, "disease: pain; fev", "cut_off"),
    ]
    assert (annotated.status, surfaces(annotated)) == ("partial", ["pain"])
    assert annotated.errors == [
        Failure("cut_off", "ner en window 0", "the answer ended after 18 tokens")
    ]


def test_cut_answer_is_not_asked_again_where_the_context_allows_no_more() -> None:
    prompt = len(options_prompt(PAIN))
    engine = Scripted(replies(("disease: pain; fev", "length")), context_length=prompt + 100)
    annotated = annotate(engine, PAIN)
    assert engine.asked == [("ner", 100)]
    assert (annotated.status, surfaces(annotated)) == ("partial", ["pain"])


def options_prompt(document: Document) -> str:
    (question,) = asked("ner", "disease,gene").questions(document)
    return question.messages[0]["content"]


def test_relations_between_mentions_are_asked_about_behind_them() -> None:
    ner = asked("ner", "chemical,disease")
    relation = asked("re", "chemical_induced_disease", ends="mentions")
    document = english("cocaine, seizures")
    told = {
        "ner": "chemical: cocaine\ndisease: seizures",
        "re": "chemical-induced disease: [cocaine, seizures]",
    }

    def annotated_by(*assignments: Assignment) -> tuple[Annotated, list[str]]:
        engine = Scripted(lambda question, number: (told[question.task], "stop"))
        annotator = Annotator(engine, assignments, 100)
        annotated = asyncio.run(annotator.annotate(document))
        assert len(annotator.questions(document).prompted) == len(assignments)
        return annotated, [task for task, _ in engine.asked]

    both, order = annotated_by(relation, ner)
    assert order == ["ner", "re"]
    assert [(m.type, m.text) for m in both.annotations.mentions] == [
        ("chemical", "cocaine"),
        ("disease", "seizures"),
    ]
    assert [(r.head, r.tail) for r in both.annotations.relations] == [([0], [1])]
    told["ner"] = "chemical: cocaine"
    one, order = annotated_by(relation, ner)
    assert (order, one.status) == (["ner"], "ok")
    assert [(error.kind, error.where) for error in one.errors] == [("not_applicable", "re")]
    alone, order = annotated_by(relation)
    assert (order, len(alone.annotations.relations)) == (["re"], 1)


@pytest.mark.parametrize(
    ("reply", "status", "error", "found"),
    [
        (("none", "stop"), "ok", None, []),
        (("disease: flu", "stop"), "ok", "not_in_text", ["flu"]),
        (("disease: pain; pain; pain", "repetition"), "partial", "repetition", ["pain"]),
        (("dis", "repetition"), "partial", "repetition", []),
        (("Sure!\ndisease: pain", "stop"), "partial", "invalid", ["pain"]),
        (("I cannot help with that.", "stop"), "failed", "invalid", []),
        (("", "stop"), "failed", "invalid", []),
        (QuestionError("refused"), "failed", "engine_error", []),
    ],
)
def test_statuses(reply: Reply, status: str, error: str | None, found: list[str]) -> None:
    annotated = annotate(Scripted(replies(reply)), PAIN)
    assert annotated.status == status
    assert [answer.error for answer in annotated.answers] == [error]
    assert surfaces(annotated) == found
    assert [e.kind for e in annotated.errors] == ([] if status == "ok" else [error])
    assert row(annotated)["status"] == status


def test_an_answer_is_kept_as_a_row_can_hold_it_and_no_offset_moves() -> None:
    class Odd(Scripted):
        async def complete(self, *arguments: Any) -> Completion:
            completion = await super().complete(*arguments)
            text = completion.text
            scores = Scores(text, range(len(text)), [-0.1] * len(text))
            return replace(completion, scores=scores, cached_tokens=-5, output_tokens=1 << 40)

    engine = Odd(replies(("disease: \udc00; headache", "stop")))
    annotated = annotate(engine, english("She had a headache."))
    found = next(m for m in annotated.annotations.mentions if m.text == "headache")
    assert found.score == pytest.approx(math.exp(-0.1))
    (answer,) = annotated.answers
    assert answer.raw == "disease: \ufffd; headache"
    assert (answer.cached_tokens, answer.output_tokens) == (0, (1 << 31) - 1)


def test_scores_that_are_no_numbers_are_none() -> None:
    class Odd(Scripted):
        async def complete(self, *arguments: Any) -> Completion:
            completion = await super().complete(*arguments)
            text = completion.text
            return replace(completion, scores=Scores(text, [0], [math.nan]))

    annotated = annotate(Odd(replies(("disease: headache", "stop"))), english("A headache."))
    (found,) = annotated.annotations.mentions
    assert found.score is None


def test_why_a_question_was_refused_is_kept_as_a_row_can_hold_it() -> None:
    annotated = annotate(Scripted(replies(QuestionError("no \ud800"))), english("A headache."))
    assert annotated.errors[0].message == "no \ufffd"


def test_second_attempt_that_fails_keeps_what_the_first_one_gave() -> None:
    engine = Scripted(replies(("disease: pain; fe", "length"), QuestionError("refused")))
    annotated = annotate(engine, PAIN)
    assert [(a.attempt, a.raw, a.error) for a in annotated.answers] == [
        (0, "disease: pain; fe", "cut_off"),
        (1, None, "engine_error"),
    ]
    assert (annotated.status, surfaces(annotated)) == ("partial", ["pain"])
    assert [(e.kind, e.message) for e in annotated.errors] == [("engine_error", "refused")]


def test_one_usable_answer_makes_a_document_partial() -> None:
    def reply(question: Question, number: int) -> Reply:
        return ("none", "stop") if question.task == "ner" else QuestionError("refused")

    annotated = annotate(Scripted(reply), PAIN, ["ner", "re"])
    assert annotated.status == "partial"
    assert [(e.kind, e.where) for e in annotated.errors] == [("engine_error", "re en window 0")]


@pytest.mark.parametrize(
    "document",
    [
        Document("d", passages([("text", "de", "Schmerz")])),
        Document("d", []),
        english("..."),
    ],
    ids=["other language", "no text", "no letter or digit"],
)
def test_document_without_a_question_is_ok_and_says_why(document: Document) -> None:
    annotated = annotate(Scripted(replies()), document, ["ner", "re"])
    assert (annotated.status, annotated.answers) == ("ok", [])
    reason = "no text in English or Chinese"
    assert annotated.errors == [
        Failure("not_applicable", "ner", reason),
        Failure("not_applicable", "re", reason),
    ]
    assert len(row(annotated)["passages"]) == len(document.passages)


@pytest.mark.parametrize("status", ["failed", "deleted"])
def test_document_that_could_not_be_read_or_was_deleted_is_passed_on(status: Any) -> None:
    failure = Failure("broken", "a.xml", "no end")
    document = Document(None, passages([("text", "en", "x")]), status=status, errors=[failure])
    annotated = annotate(Scripted(replies()), document)
    assert (annotated.status, annotated.errors, annotated.answers) == (status, [failure], [])
    assert row(annotated)["document_id"] is None


def test_failed_names_the_document() -> None:
    annotated = failed(Document(None, position=7), "internal_error", "KeyError: 'x'")
    assert annotated.errors == [Failure("internal_error", "record 7", "KeyError: 'x'")]
    assert row(annotated)["status"] == "failed"


def guarded_with(error: Exception) -> Annotated:
    annotator = Annotator(Scripted(lambda *_: error), every("ner"), 100)
    document = english("Aspirin for pain.")
    document.source, document.position = "a.jsonl-01234567", 3
    return asyncio.run(guarded(annotator, document))


def test_a_fault_of_ours_at_one_document_is_its_failed_row_and_is_logged(caplog: Any) -> None:
    annotated = guarded_with(KeyError("x"))
    assert row(annotated)["status"] == "failed"
    assert [(e.kind, e.message) for e in annotated.errors] == [("internal_error", "KeyError: 'x'")]
    assert "document 3 of a.jsonl-01234567" in caplog.text and "Traceback" in caplog.text


@pytest.mark.parametrize("kind", [EngineDied, ServerGone, ConfigError])
def test_what_no_document_is_to_blame_for_is_no_row(kind: type[Exception]) -> None:
    with pytest.raises(kind):
        guarded_with(kind("gone"))


# ----------------------------------------------------------------------------- context and windows


def test_context_too_small_for_the_instruction_fails_the_document() -> None:
    engine = Scripted(replies(), context_length=300)
    annotated = annotate(engine, english("pain " * 100))
    assert (annotated.status, annotated.answers, engine.asked) == ("failed", [], [])
    (error,) = annotated.errors
    assert (error.kind, error.where) == ("too_long", "ner")
    assert "--context-length" in error.message


def test_long_document_is_split_at_sentences_and_offsets_are_those_of_the_document() -> None:
    text = " ".join(f"Number {n} has pain{n} there." for n in range(60))

    def reply(question: Question, number: int) -> Reply:
        shown = [f"pain{n}" for n in range(60) if f"pain{n} " in question.window.text]
        return (f"disease: {'; '.join(shown[:20])}", "stop")

    instruction = len(options_prompt(english("x")))
    engine = Scripted(reply, context_length=instruction + 700)
    annotated = annotate(engine, english("Title.", text), max_tokens=300)
    assert annotated.status == "ok"
    assert len(annotated.answers) > 3
    assert all(a.prompt_tokens <= instruction + 400 for a in annotated.answers)
    assert sorted(a.window for a in annotated.answers) == list(range(len(annotated.answers)))
    assert [m.text for m in annotated.annotations.mentions] == [f"pain{n}" for n in range(60)]
    for mention in annotated.annotations.mentions:
        assert ("Title.\n" + text)[mention.start : mention.end] == mention.text
        assert mention.passage == 1


def test_all_questions_on_a_document_are_asked_at_once() -> None:
    order: list[str] = []

    class Ordered(Scripted):
        async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Any:
            order.append("begins")
            completion = await super().complete(question, prompt, max_tokens)
            order.append("ends")
            return completion

    document = Document("d", passages([("text", "en", "pain"), ("text", "zh", "头痛")]))
    annotate(Ordered(lambda question, number: ("none", "stop")), document, ["ner", "re"])
    assert order == ["begins"] * 4 + ["ends"] * 4


# ----------------------------------------------------------------------------------- engine's death


def test_engine_s_death_propagates_and_in_flight_names_its_documents() -> None:
    def reply(question: Question, number: int) -> Reply:
        return EngineDied("gone") if "poison" in question.window.text else ("none", "stop")

    async def run() -> set[tuple[str, int]]:
        annotator = Annotator(Scripted(reply), [asked("ner", "disease")], 100)
        harmless = Document("a", passages([("text", "en", "pain")]), source="s", position=1)
        poison = Document("b", passages([("text", "en", "poison")]), source="s", position=2)
        assert (await annotator.annotate(harmless)).status == "ok"
        with pytest.raises(EngineDied):
            await annotator.annotate(poison)
        return annotator.in_flight

    assert asyncio.run(run()) == {("s", 2)}


def test_document_that_meets_a_bug_is_no_longer_in_flight() -> None:
    async def run() -> set[tuple[str, int]]:
        engine = Scripted(replies(ZeroDivisionError()))
        annotator = Annotator(engine, [asked("ner", "disease")], 100)
        with pytest.raises(ZeroDivisionError):
            await annotator.annotate(PAIN)
        return annotator.in_flight

    assert asyncio.run(run()) == set()


def test_no_more_documents_are_at_the_engine_than_it_wants() -> None:
    most = 0

    async def run() -> None:
        nonlocal most
        engine = Scripted(lambda question, number: ("none", "stop"))
        annotator = Annotator(engine, [asked("ner", "disease")], 100)

        async def one(position: int) -> None:
            document = Document("a", passages([("text", "en", "pain")]), position=position)
            await annotator.annotate(document)

        async def watch() -> None:
            nonlocal most
            for _ in range(60):
                most = max(most, len(annotator.in_flight))
                await asyncio.sleep(0)

        await asyncio.gather(watch(), *(one(position) for position in range(12)))

    asyncio.run(run())
    assert most == Scripted.question_slots == 4


# ------------------------------------------------------------------------------------------- tasks


def windowed(answer: Callable[[Question, int], Reply], task: str) -> Annotated:
    """Of a document whose windows are two or more."""
    engine = Scripted(answer, context_length=800)
    annotated = annotate(
        engine, english(*(f"Number {n} is a sentence." for n in range(40))), [task]
    )
    assert max(a.window for a in annotated.answers) >= 1
    return annotated


def test_texts_of_several_windows_are_joined_in_order() -> None:
    annotated = windowed(lambda q, n: (f"part {q.window.index}", "stop"), "mt")
    parts = [f"part {n}" for n in range(len(annotated.answers))]
    assert annotated.annotations.texts == [Text("mt:zh", "\n".join(parts))]


def test_of_one_label_the_first_that_was_given_counts() -> None:
    annotated = windowed(lambda q, n: (["?", "no", "yes"][min(q.window.index, 2)], "stop"), "qa")
    assert annotated.annotations.labels == [Label("qa:safe", "no")]
    assert annotated.status == "partial"  # the first window's answer was none


def test_several_labels_of_windows_are_united() -> None:
    names = ["Treatment", "Risk: high"]
    annotated = windowed(lambda q, n: (f"Result: {names[q.window.index % 2]}", "stop"), "tc")
    assert [label.label for label in annotated.annotations.labels] == names


def test_texts_in_two_languages_stay_apart() -> None:
    document = Document("d", passages([("text", "en", "Pain."), ("text", "zh", "头痛。")]))
    annotated = annotate(Scripted(lambda q, n: (q.language, "stop")), document, ["summary"])
    assert annotated.annotations.texts == [Text("summary", "en"), Text("summary", "zh")]


def test_an_empty_answer_is_a_failure_and_the_other_tasks_stand() -> None:
    engine = Scripted(lambda q, n: ("" if q.task == "title" else "A text.", "stop"))
    annotated = annotate(engine, PAIN, ["title", "summary"])
    assert annotated.status == "partial"
    assert [(e.kind, e.where) for e in annotated.errors] == [("empty", "title en window 0")]
    assert annotated.annotations.texts == [Text("summary", "A text.")]


def test_a_task_that_is_too_long_fails_alone_and_one_that_does_not_apply_says_why() -> None:
    long = every("tc")[0]
    labels = [f"{'long ' * 20}{n}" for n in range(20)]
    wordy = replace(long, options=long.options.model_copy(update={"labels": terms(labels, ())}))
    engine = Scripted(lambda q, n: ("A title.", "stop"), context_length=700)
    annotator = Annotator(engine, [wordy, *every("title", "dialogue")], 100)
    annotated = asyncio.run(annotator.annotate(PAIN))
    assert annotated.status == "partial"
    assert [(e.kind, e.where) for e in annotated.errors] == [
        ("too_long", "tc"),
        ("not_applicable", "dialogue"),
    ]
    assert annotated.annotations.texts == [Text("title", "A title.")]


# -------------------------------------------------------------------------------------- properties

WORD = st.sampled_from(
    [
        "p53",
        "naloxone",
        "cocaine",
        "头痛",
        "急性胰腺炎患者",
        "β-blocker",
        "e\u0301",
        "🧬",
        ".",
        "。",
        ";",
        "[x]",
        "\n",
        "\0",
    ]
)
TEXT = st.lists(WORD, max_size=40).map(" ".join)
TYPE = st.sampled_from(["text", "title", "patient", "doctor", "question", "choice"])
LANGUAGE = st.sampled_from(["en", "zh", "de"])
DOCUMENT = st.lists(st.tuples(TYPE, LANGUAGE, TEXT), max_size=4).map(
    lambda parts: Document("d", passages(parts), metadata={"a": "b"})
)
TROUBLES = ("garbage", "cut", "repeat", "refuse")
SHARE = st.sampled_from([0.0, 0.2, 0.5])


@settings(max_examples=60, deadline=None)
@given(
    document=DOCUMENT,
    shares=st.fixed_dictionaries(dict.fromkeys(TROUBLES, SHARE)),
    context_length=st.sampled_from([256, 400, 4096]),
    tasks=st.sampled_from([("ner",), ("re",), ("ner", "re"), tuple(TASKS)]),
    max_tokens=st.sampled_from([16, 512]),
)
def test_any_document_and_any_trouble_give_a_row_that_keeps_the_contract(
    document: Document,
    shares: dict[str, float],
    context_length: int,
    tasks: tuple[str, ...],
    max_tokens: int,
) -> None:
    check(
        row(annotate(FakeEngine(context_length, **shares), document, tasks, max_tokens)), document
    )


@settings(max_examples=60, deadline=None)
@given(
    document=DOCUMENT,
    answers=st.lists(
        st.tuples(
            st.one_of(
                st.text(max_size=30),
                st.lists(
                    st.sampled_from(
                        [
                            "disease: ",
                            "疾病：",
                            "treatment: ",
                            "[",
                            ", ",
                            "]",
                            "; ",
                            "\n",
                            "p53",
                            "头痛",
                            "P53",
                            "Binding: (Trigger: ",
                            ", Theme: ",
                            ")",
                            "上述句子中的反应事件如下：",
                            "部位：",
                            "Result: ",
                            "Treatment",
                            "yes",
                            "主诉：",
                        ]
                    )
                ).map("".join),
            ),
            st.sampled_from(["stop", "length", "repetition"]),
        ),
        min_size=1,
    ),
)
def test_any_answers_give_a_row_that_keeps_the_contract(
    document: Document, answers: list[tuple[str, str]]
) -> None:
    engine = Scripted(lambda question, number: answers[number % len(answers)])
    check(row(annotate(engine, document, list(TASKS))), document)


def check(found: dict[str, Any], document: Document) -> None:
    """What every row of the output promises."""
    mentions, relations = found["mentions"], found["relations"]
    assert [m["id"] for m in mentions] == list(range(len(mentions)))
    assert [r["id"] for r in relations] == list(range(len(relations)))
    places = [(m["type"], m["start"], m["end"], m["text"]) for m in mentions]
    assert len(set(places)) == len(places)
    located = [m["start"] for m in mentions if m["start"] is not None]
    assert all(one <= other for one, other in pairwise(located))
    for m in mentions:
        assert (m["start"] is None) == (m["grounded"] == "none")
        if m["start"] is not None:
            assert document.text[m["start"] : m["end"]] == m["text"]
            passage = document.passages[m["passage"]]
            assert passage.offset <= m["start"] < m["end"] <= passage.end
            assert passage.language in ("en", "zh")
    pairs = [r for r in relations if r["type"] != COREFERENCE]  # the others are of two mentions
    assert len({(r["type"], r["head_text"], r["tail_text"]) for r in pairs}) == len(pairs)
    for r in relations:
        for ids, surface in ((r["head"], r["head_text"]), (r["tail"], r["tail_text"])):
            assert ids == sorted(set(ids)) and ids
            same = {m["id"] for m in mentions if m["text"] == surface}
            assert same <= set(ids) if r in pairs else set(ids) <= same
    by_id = {m["id"]: m for m in mentions}
    assert [e["id"] for e in found["events"]] == list(range(len(found["events"])))
    for event in found["events"]:
        assert event["trigger"] is not None or event["arguments"]
        assert event["trigger"] is None or event["trigger"] in by_id
        assert all(argument["mention"] in by_id for argument in event["arguments"])
    labels = [(label["task"], label["label"]) for label in found["labels"]]
    assert len(set(labels)) == len(labels)
    assert len([task for task, _ in labels if task in ("qa:safe", "similarity")]) <= 2
    assert all(text["text"].strip() for text in found["texts"])
    assert found["status"] in ("ok", "partial", "failed")
    failures = [e for e in found["errors"] if e["kind"] != "not_applicable"]
    assert (found["status"] == "ok") == (not failures)
    assert found["passages"] == [
        {"type": p.type, "language": p.language, "offset": p.offset, "text": p.text}
        for p in document.passages
    ]
    keys = [(a["task"], a["language"], a["window"], a["attempt"]) for a in found["answers"]]
    assert len(set(keys)) == len(keys)
    assert {attempt for *_, attempt in keys} <= {0, 1}


class Counting(FakeEngine):
    """Notes in which order documents are done, and how much of one is asked at once."""

    def __init__(self) -> None:
        super().__init__(600, latency=0.01)
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        name = "long" if "lengthy" in question.window.text else "short"
        self.now[name] += 1
        self.most[name] = max(self.most[name], self.now[name])
        try:
            return await super().complete(question, prompt, max_tokens)
        finally:
            self.now[name] -= 1


def test_a_long_document_does_not_hold_the_others() -> None:
    engine = Counting()
    done: list[str] = []

    async def one(annotator: Annotator, document: Document) -> None:
        await annotator.annotate(document)
        done.append(str(document.document_id))

    async def everything() -> None:
        annotator = Annotator(engine, [asked("ner", "disease")], 100)
        documents = [english("A lengthy tale of stroke. " * 4_000)]
        documents += [english(f"Aspirin helped patient {n}.") for n in range(30)]
        for n, document in enumerate(documents):
            document.document_id, document.position = str(n), n
        await asyncio.gather(*(one(annotator, document) for document in documents))

    asyncio.run(everything())
    assert done[-1] == "0"
    assert engine.most["long"] == engine.question_slots // 4
    assert engine.most["short"] > 1
