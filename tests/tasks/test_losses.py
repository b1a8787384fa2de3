"""What an answer form cannot state is counted: all gold comes back but for that, exactly."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray.formats import bioc_xml, brat, documents, pubtator
from taiyi_ray.formats.format import RawRecord
from taiyi_ray.merging import merge
from taiyi_ray.records import (
    Annotations,
    Argument,
    Document,
    Event,
    Label,
    Mention,
    Relation,
    Span,
    Text,
)
from taiyi_ray.tasks import TASKS, losses
from taiyi_ray.tasks.task import Assignment
from tests import samples
from tests.samples import asked, chinese, english


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("breast cancer", None),
        ("2,4-D [3H]", None),
        ("p53; p63", losses.SEPARATOR),
        ("lung\ncancer", losses.SEPARATOR),
        (" pain", losses.BLANK),
        ("pain\t", losses.BLANK),
        ("", losses.NO_WORDS),
        ("x" * 150, None),
        ("x" * 151, losses.LONG),
    ],
)
def test_words_that_cannot_be_written_have_their_reason(words: str, reason: str | None) -> None:
    assert losses.unwritable(words, ";") == reason


def lost(assignment: Assignment, document: Document, gold: Annotations) -> Counter[str]:
    """The losses of all questions on a document; they are those that the score counts."""
    task = assignment.task
    reasons: Counter[str] = Counter()
    parsed = []
    for question in assignment.questions(document):
        reasons += task.lost(question, gold)
        parsed.append(task.parse(task.target(question, gold), question, document).annotations)
    missed = task.score(merge(parsed), gold).fn
    assert missed == reasons.total(), (missed, reasons)
    return reasons


def mention(number: int, start: int | None, text: str, type_: str = "disease") -> Mention:
    return Mention(number, type_, text, start, None if start is None else start + len(text))


@pytest.mark.parametrize(
    ("document", "mentions", "reasons"),
    [
        (english("pain"), [mention(0, 0, "pain")], {}),
        (english("a; b"), [mention(0, 0, "a; b")], {losses.SEPARATOR: 1}),
        (english("pain"), [mention(0, None, "pain")], {losses.NO_OFFSETS: 1}),
        (
            english("left and right arm"),
            [Mention(0, "disease", "left arm", 0, 18, [Span(0, 4), Span(15, 18)])],
            {losses.DISCONTINUOUS: 1},
        ),
        (
            english("acute pain, pain"),
            [mention(0, 0, "acute pain"), mention(1, 6, "pain"), mention(2, 12, "pain")],
            {losses.NESTED: 1},
        ),
        (
            english("Ca of Ca2"),
            [mention(0, 0, "Ca"), mention(1, 6, "Ca")],
            {losses.IN_A_WORD: 1},
        ),
        (english("None died"), [mention(0, 0, "None")], {losses.NOTHING: 1}),
        (
            english(" ".join(f"d{n}" for n in range(10, 40))),
            [mention(n, 4 * n, f"d{n + 10}") for n in range(30)],
            {losses.BOUND: 6},
        ),
        (
            chinese("发热。\n\n咳嗽。"),
            [mention(0, 0, "发热。\n\n咳嗽")],
            {losses.SEPARATOR: 1},
        ),
    ],
)
def test_mentions_that_an_answer_cannot_state(
    document: Document, mentions: list[Mention], reasons: dict[str, int]
) -> None:
    assert lost(asked("ner", "disease"), document, Annotations(mentions)) == reasons


def test_a_mention_over_the_end_of_a_window_is_lost_once() -> None:
    document = english("Pain came first. Then came fever, later.")
    gold = Annotations([mention(0, 11, "first. Then"), mention(1, 27, "fever")])
    questions = asked("ner", "disease").task.questions(document, asked("ner", "disease"), 25)
    reasons = [TASKS["ner"].lost(question, gold) for question in questions]
    assert reasons == [{losses.OUTSIDE: 1}, {}]


@pytest.mark.parametrize(
    ("head", "tail", "reason"),
    [
        ("pain", "aspirin", None),
        ("pain", "ibuprofen", losses.NOT_IN_TEXT),
        ("[pain", "aspirin", losses.SEPARATOR),
        ("", "aspirin", losses.NO_WORDS),
        ("no", "aspirin", losses.NOTHING),
    ],
)
def test_pairs_that_an_answer_cannot_state(head: str, tail: str, reason: str | None) -> None:
    gold = Annotations(relations=[Relation(0, "treatment", head, tail, [], [])])
    found = lost(asked("re", "treatment"), english("aspirin and no [pain"), gold)
    assert found == ({reason: 1} if reason else {})


@pytest.mark.parametrize(
    ("trigger", "arguments", "reason"),
    [
        (0, [Argument("Theme", 1, "IL-2")], None),
        (None, [Argument("Theme", 1, "IL-2")], losses.NO_TRIGGER),
        (0, [Argument("Cause", 1, "IL-2")], losses.NOT_ASKED),
        (0, [Argument("Theme", None, "")], losses.EVENT),
        (0, [Argument("Theme", None, "IL-9")], losses.NOT_IN_TEXT),
        (2, [Argument("Theme", 1, "IL-2")], losses.SEPARATOR),
        (0, [Argument("Theme", None, word) for word in "abcdefghi"], losses.BOUND),
    ],
)
def test_events_that_an_answer_cannot_state(
    trigger: int | None, arguments: list[Argument], reason: str | None
) -> None:
    document = english("binding of IL-2 (bound) a b c d e f g h i")
    mentions = [mention(0, 0, "binding"), mention(1, 11, "IL-2"), mention(2, 16, "(bound)")]
    gold = Annotations(mentions, events=[Event(0, "Binding", trigger, arguments)])
    found = lost(asked("ee", types={"Binding": ["Theme"]}), document, gold)
    assert found == ({reason: 1} if reason else {})


@pytest.mark.parametrize(
    ("task", "options", "gold", "reasons"),
    [
        ("tc", {"labels": ["a", "b"]}, ["a"], {}),
        ("tc", {"labels": ["a", "b"]}, ["a", "b", "c"], {losses.SECOND: 1, losses.NOT_ASKED: 1}),
        ("tc", {"labels": ["a", "b"], "multi_label": True}, ["a", "b"], {}),
    ],
)
def test_labels_that_an_answer_cannot_state(
    task: str, options: dict[str, Any], gold: list[str], reasons: dict[str, int]
) -> None:
    labels = [Label(task, label) for label in gold]
    found = lost(asked(task, **options), english("text"), Annotations(labels=labels))
    assert found == reasons


@pytest.mark.parametrize(
    ("task", "options", "texts", "reasons"),
    [
        ("title", {}, [("title", "A")], {}),
        ("title", {}, [("title", "A"), ("title", "B")], {losses.SECOND: 1}),
        ("title", {}, [("title", "A ")], {losses.BLANK: 1}),
        ("title", {}, [("title", "")], {losses.NO_WORDS: 1}),
        ("report", {}, [("report:advice", "rest")], {}),
        ("report", {}, [("report:advice", "rest\nwater")], {losses.LINES: 1}),
        ("report", {}, [("report:advice", "none")], {losses.NOTHING: 1}),
        ("report", {}, [("report:other", "rest")], {losses.NOT_ASKED: 1}),
    ],
)
def test_texts_that_an_answer_cannot_state(
    task: str, options: dict[str, Any], texts: list[tuple[str, str]], reasons: dict[str, int]
) -> None:
    gold = Annotations(texts=[Text(*text) for text in texts])
    assert lost(asked(task, **options), english("text"), gold) == reasons


# -------------------------------------------------------------------------------------- properties

SIGNS = "aB1 no无 .;:[](),-，；：。中国\n"
WORDS = st.one_of(st.text(SIGNS, max_size=6), st.sampled_from(["none", "no", "无", "", "a" * 151]))


@st.composite
def gold_of(draw: st.DrawFn, document: Document, assignment: Assignment) -> Annotations:
    """Gold of all kinds that the task may be asked about, with many faults."""
    text = document.text
    question = assignment.questions(document)[0]
    names = [*(term.name for term in question.types), "unknown"]
    asked_ = st.sampled_from(names[:-1] or names)
    gold = Annotations()
    for number in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        one = Mention(number, draw(asked_), text[start:end], start, end)
        if draw(st.integers(0, 5)) == 0:
            one.text, one.start, one.end = draw(WORDS), None, None
        elif end - start > 4 and draw(st.integers(0, 5)) == 0:
            one.spans = [Span(start, start + 1), Span(end - 1, end)]
            one.text = f"{text[start]} {text[end - 1]}"
        gold.mentions.append(one)

    def part() -> tuple[int | None, str]:
        if gold.mentions and draw(st.booleans()):
            one = draw(st.sampled_from(gold.mentions))
            return one.id, one.text
        return None, draw(WORDS)

    for number in range(draw(st.integers(0, 4))):
        (head, head_text), (tail, tail_text) = part(), part()
        ids = [[n] if n is not None else [] for n in (head, tail)]
        gold.relations.append(Relation(number, draw(asked_), head_text, tail_text, *ids))
    for number in range(draw(st.integers(0, 4))):
        type_ = draw(st.sampled_from(question.types or (None,)))
        roles = [*(role.name for role in getattr(type_, "roles", ())), "Other"]
        players = [
            Argument(draw(st.sampled_from(roles)), *part()) for _ in range(draw(st.integers(0, 3)))
        ]
        gold.events.append(Event(number, type_.name if type_ else "unknown", part()[0], players))
    for asked_question in assignment.questions(document):
        key = asked_question.key
        names = [*(term.name for term in asked_question.types), "unknown"]
        for label in draw(st.lists(st.sampled_from(names), max_size=2)):
            gold.labels.append(Label(key, label))
        keys = [f"{key}:{name}" for name in names] if key == "report" else [key]
        if key == "report" or not asked_question.types:
            for text in draw(st.lists(st.sampled_from(keys), max_size=2)):
                gold.texts.append(Text(text, draw(WORDS)))
    return gold


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=30)
@given(data=st.data(), grammar=st.booleans(), language=st.sampled_from(["en", "zh"]))
def test_gold_of_any_task_comes_back_but_for_what_is_counted_as_lost(
    name: str, data: st.DataObject, grammar: bool, language: str
) -> None:
    words = data.draw(st.text(SIGNS, min_size=1, max_size=30).filter(lambda t: t[0].isalnum()))
    document = samples.everything(words, words)
    document.passages = [p for p in document.passages if p.language == language]
    for passage in document.passages:
        passage.offset = 0
    (assignment,) = samples.every(name, grammar=grammar)
    if samples.questions(assignment, document):
        lost(assignment, document, data.draw(gold_of(document, assignment)))


# ------------------------------------------------------------------------------------ real corpora


def of_stream(format_: Any, path: Path) -> Iterator[Document]:
    data = gzip.decompress(path.read_bytes())
    yield from documents(io.BytesIO(data), path.stem, format_.FORMAT, "s", 0, 1 << 20)


def bionlp(folder: Path) -> Iterator[Document]:
    for text in sorted(folder.glob("*/*.txt")):
        beside = {".txt": text.read_bytes()}
        yield brat.parse(
            RawRecord("document", text.with_suffix(".ann").read_bytes(), beside=beside)
        )


def losses_of(task: str, found: list[Document], **options: Any) -> tuple[int, Counter[str]]:
    """The number of different gold items of a task, and the losses by reason."""
    reasons: Counter[str] = Counter()
    number = 0
    assignment = asked(task, **options)
    for document in found:
        reasons += lost(assignment, document, document.gold)
        number += TASKS[task].score(Annotations(), document.gold).fn
    return number, reasons


@pytest.mark.parametrize(
    ("read", "path", "mentions", "pairs"),
    [
        (
            pubtator,
            "bc5cdr/CDR_TestSet.PubTator.txt.gz",
            (9_809, {losses.IN_A_WORD: 2, losses.NESTED: 1}),
            (1_055, {losses.SEPARATOR: 4}),
        ),
        (pubtator, "ncbi-disease/NCBItestset_corpus.txt.gz", (960, {}), None),
        (
            bioc_xml,
            "biored/Dev.BioC.XML.gz",
            (3_533, {losses.BOUND: 15, losses.IN_A_WORD: 6}),
            (1_107, {losses.BOUND: 62, losses.SEPARATOR: 11}),
        ),
    ],
    ids=["BC5CDR", "NCBI disease", "BioRED"],
)
def test_gold_of_real_records_comes_back_but_for_what_is_counted_as_lost(
    shared_data: Path, read: Any, path: str, mentions: Any, pairs: Any
) -> None:
    found = list(of_stream(read, shared_data / path))
    types = sorted({m.type for d in found for m in d.gold.mentions if m.type})
    assert losses_of("ner", found, types=types, ask="together") == mentions
    if pairs is not None:
        relations = sorted({r.type for d in found for r in d.gold.relations})
        assert losses_of("re", found, relations=relations) == pairs


def test_gold_events_come_back_but_for_what_is_counted_as_lost(shared_data: Path) -> None:
    found = list(bionlp(shared_data / "bionlp-st-2011-samples"))
    types: dict[str, dict[str, None]] = {}
    for document in found:
        for event in document.gold.events:
            roles = dict.fromkeys(a.role for a in event.arguments)
            types.setdefault(event.type, {}).update(roles)
    asked_types = {name: list(roles) for name, roles in types.items()}
    counted = {losses.SEPARATOR: 3, losses.BOUND: 3}
    assert losses_of("ee", found, types=asked_types) == (502, counted)
