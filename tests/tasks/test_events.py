"""Events: both forms of the answer, where trigger and arguments stand, gold there and back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.forms import running
from taiyi_ray.records import Annotations, Argument, Document, Event, Mention
from taiyi_ray.tasks import events
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Counts, Question
from tests.samples import Gold, asked, back, chinese, corpus, english

TYPES = {"Expression": ["Theme"], "Regulation": ["Theme", "Cause"]}
FINDING = {"临床发现": {"roles": ["发生状态", "描述词", "解剖部位"], "trigger": "主体词"}}


def ask(document: Document, types: dict[str, Any] = TYPES, *, grammar: bool = True) -> Question:
    (question,) = asked("ee", types=types, grammar=grammar).questions(document)
    return question


def told(annotations: Annotations) -> list[tuple[Any, ...]]:
    """Events in words and places."""
    by_id = {m.id: m for m in annotations.mentions}

    def place(number: int | None) -> int | None:
        return by_id[number].start if number is not None else None

    return [
        (
            event.type,
            None
            if event.trigger is None
            else (running(by_id[event.trigger].text), place(event.trigger)),
            *((a.role, running(a.text), place(a.mention)) for a in event.arguments),
        )
        for event in annotations.events
    ]  # fmt: skip


def test_english_form_and_the_places_of_trigger_and_arguments() -> None:
    document = english("IL-2 expression, and expression of IL-4. NF-kB raised the expression.")
    answer = (
        "Expression: (Trigger: expression, Theme: IL-2); (Trigger: expression, Theme: IL-4)\n"
        "Regulation: (Trigger: raised, Theme: expression, Cause: NF-kB)"
    )
    parsed = events.parse(answer, ask(document), document)
    assert parsed.problem is None
    assert told(parsed.annotations) == [
        ("Expression", ("expression", 5), ("Theme", "IL-2", 0)),
        ("Expression", ("expression", 21), ("Theme", "IL-4", 35)),
        ("Regulation", ("raised", 47), ("Theme", "expression", 58), ("Cause", "NF-kB", 41)),
    ]
    assert [(m.type, m.text) for m in parsed.annotations.mentions][:2] == [
        ("Expression", "expression"),
        (None, "IL-2"),
    ]


def test_chinese_form_is_that_of_taiyi_with_empty_slots() -> None:
    document = chinese("患者少量排气，伴反复、剧烈咳嗽。")
    question = ask(document, FINDING)
    answer = (
        "上述句子中的临床发现事件如下：\n"
        "主体词：排气；发生状态：；描述词：少量；解剖部位：\n"
        "主体词：咳嗽；发生状态：；描述词：反复，剧烈；解剖部位："
    )
    parsed = events.parse(answer, question, document)
    assert parsed.problem is None
    assert told(parsed.annotations) == [
        ("临床发现", ("排气", 4), ("描述词", "少量", 2)),
        ("临床发现", ("咳嗽", 13), ("描述词", "反复", 8), ("描述词", "剧烈", 11)),
    ]
    assert events.target(question, parsed.annotations) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "上述句子中的临床发现事件如下：\n1. 主体词：咳嗽；发生状态：无；描述词：反复，剧烈",
        "**上述句子中的临床发现事件如下：**\n- **主体词**：咳嗽；描述词：反复、剧烈",
        "临床发现：主体词：咳嗽；描述词：反复、 剧烈。",
    ],
)
def test_chinese_events_as_chats_write_them(answer: str) -> None:
    document = chinese("患者反复咳嗽，时而剧烈。")
    parsed = events.parse(answer, ask(document, FINDING, grammar=False), document)
    assert parsed.problem is None
    assert told(parsed.annotations) == [
        ("临床发现", ("咳嗽", 4), ("描述词", "反复", 2), ("描述词", "剧烈", 9))
    ]


@pytest.mark.parametrize(
    ("answer", "cut", "found", "problem"),
    [
        ("none", False, [], None),
        ("", False, [], "invalid"),
        ("nothing here", False, [], "invalid"),
        ("Expression: (Trigger: b, Theme: a)", False, ["b a"], None),
        ("Expression: (Trigger: b, Theme: a]", False, ["b a"], None),  # as Taiyi printed it
        ("expression: (trigger: b, theme: a)", False, ["b a"], None),
        ("Expression: (trigger: b, theme: a)", False, ["b a"], None),
        ("**Expression:** (Trigger: b, Theme: a)", False, ["b a"], None),
        ("Expression:\n- (Trigger: b, Theme: a)\n2. Trigger: a", False, ["b a", "a"], None),
        ("### Expression\n（**Trigger**: b，Theme：a）；（Trigger: a）", False, ["b a", "a"], None),
        ("Expression: (Trigger: b)\nOther: (Trigger: a)", False, ["b"], "invalid"),
        ("Expression: none.", False, [], None),
        ("Expression: (Trigger: None, Theme: N/A)", False, [], None),
        ("Expression: (Trigger: b, Theme: none)", False, ["b"], None),
        ("No events are mentioned in the text.", False, [], None),
        ("Expression: (Trigger: b, Theme: a); (Trigger: b, Theme: a)", False, ["b a"], None),
        ("Expression: (Trigger: b, Theme: a); (Trig", True, ["b a"], None),
        ("Expression: (Trigger: b, Theme: a)\nRegulation: (Trig", True, ["b a"], None),
        ("Expression: (Trigger: b, Theme: a", True, [], "invalid"),
        ("Expression: (Trigger: b, Site: a)", False, ["b, Site: a"], "not_in_text"),
        ("Expression: (Theme: a)", False, [" a"], None),
        ("Expression: b of a", False, [], "invalid"),
        ("Other: (Trigger: b)", False, [], "invalid"),
    ],
)
def test_answers(answer: str, cut: bool, found: list[str], problem: str | None) -> None:
    document = english("a b")
    parsed = events.parse(answer, ask(document), document, cut=cut)
    words = {m.id: m.text for m in parsed.annotations.mentions}
    assert [
        " ".join([words.get(e.trigger, "") if e.trigger is not None else ""]
                 + [a.text for a in e.arguments])
        for e in parsed.annotations.events
    ] == found  # fmt: skip
    assert parsed.problem == problem


def test_words_that_are_not_in_the_text_are_mentions_without_offsets() -> None:
    document = english("IL-2 expression")
    question = ask(document, grammar=False)
    parsed = events.parse("Expression: (Trigger: made, Theme: il-2)", question, document)
    assert [(m.text, m.start, m.grounded) for m in parsed.annotations.mentions] == [
        ("made", None, "none"),
        ("IL-2", 0, "folded"),
    ]
    assert parsed.problem == "not_in_text"


def test_scores_are_those_of_the_words() -> None:
    document = english("a b")
    answer = "Expression: (Trigger: b, Theme: a)"
    scores = Scores(answer, range(len(answer)), [-0.5] * len(answer))
    parsed = events.parse(answer, ask(document), document, scores=scores)
    assert [round(m.score or 0, 3) for m in parsed.annotations.mentions] == [0.607, 0.607]


def test_types_without_a_trigger() -> None:
    document = english("AGL15 is found in the embryo.")
    question = ask(document, {"Localization": {"roles": ["Molecule", "Tissue"], "trigger": None}})
    answer = "Localization: (Molecule: AGL15, Tissue: embryo)"
    parsed = events.parse(answer, question, document)
    assert told(parsed.annotations) == [
        ("Localization", None, ("Molecule", "AGL15", 0), ("Tissue", "embryo", 22))
    ]
    assert events.target(question, parsed.annotations) == answer


def test_labels_in_both_languages() -> None:
    types = {
        "binding": {
            "en": "Binding",
            "zh": "结合",
            "trigger": "trigger",
            "roles": {"theme": {"en": "Theme", "zh": "对象"}},
        }
    }
    question = ask(chinese("阿司匹林结合受体"), types)
    gold = Annotations(
        [Mention(0, "binding", "结合", 4, 6), Mention(1, None, "受体", 6, 8)],
        events=[Event(0, "binding", 0, [Argument("theme", 1, "受体")])],
    )
    answer = "上述句子中的结合事件如下：\n触发词：结合；对象：受体"
    assert events.target(question, gold) == answer
    assert "结合：触发词，对象" in question.messages[0]["content"]


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (None, "types is missing; an example: `ee: {types: {Gene_expression: [Theme]"),
        ({}, "expected types and their roles"),
        (["Binding"], "expected types and their roles"),
        ({"Binding": "Theme"}, "Binding: expected roles"),
        ({"Binding": [1]}, "a name must be text, not 1: put it in quotes"),
        ({"Binding": {"roles": [], "trigger": None}}, "an event has a trigger, or roles"),
        ({"Binding": {"roles": ["Theme"], "role": 1}}, "Binding: expected its labels"),
    ],
)
def test_wrong_types_are_named(types: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked("ee", **({} if types is None else {"types": types}))
    assert message in str(caught.value)


def test_score_compares_words() -> None:
    one = Annotations(
        [Mention(0, "X", "b", 2, 3), Mention(1, None, "a", 0, 1)],
        events=[Event(0, "X", 0, [Argument("Theme", 1, "a")]), Event(1, "X", 0, [])],
    )
    other = Annotations(
        [Mention(5, None, "a", 0, 1), Mention(7, "X", "b", 2, 3)],
        events=[
            Event(0, "X", 7, [Argument("Theme", 5, "a")]),
            Event(1, "X", 7, [Argument("Cause", 5, "a")]),
        ],
    )
    assert events.score(one, other) == Counts(tp=1, fp=1, fn=1)


# -------------------------------------------------------------------------------------------- gold


def types_of(golds: list[Gold], *, trigger: bool) -> dict[str, Any]:
    """The types of a corpus with all roles that occur in them."""
    roles: dict[str, dict[str, None]] = {}
    for _, gold in golds:
        for event in gold.events:
            roles.setdefault(event.type, {}).update(dict.fromkeys(a.role for a in event.arguments))
    extra: dict[str, Any] = {} if trigger else {"trigger": None}
    return {name: {"roles": list(of_type), **extra} for name, of_type in roles.items()}


def lost(event: Event, gold: Annotations, document: Document) -> str:
    """Why an event cannot come back."""
    by_id = {m.id: m for m in gold.mentions}
    if any(a.mention is None for a in event.arguments):
        return "event without a trigger as argument"
    ids = [a.mention for a in event.arguments] + [event.trigger]
    mentions = [by_id[number] for number in ids if number is not None]
    if any(document.text[m.start : m.end] != m.text for m in mentions):
        return "discontinuous"
    words = " ".join(m.text for m in mentions)
    return next((s for s in ("\n", ";", "(", "[", ", ") if s in words), "?")


BIONLP = ["bionlp_st_2011_ge", "bionlp_st_2011_epi", "bionlp_st_2011_id"]
ORPHAN = "event without a trigger as argument"
SEEDEV = {"discontinuous": 80, ORPHAN: 6, "[": 4, "(": 1, "\n": 1}


@pytest.mark.parametrize(
    ("names", "split", "trigger", "number", "at_their_places", "reasons"),
    [
        (BIONLP, "train", True, 653, 473, {"(": 3}),
        (
            ["seedev_full"],
            "dev",
            False,
            594,
            380,
            {"discontinuous": 80, ORPHAN: 6, "[": 4, "(": 1, "\n": 1},
        ),
    ],
    ids=["BioNLP-ST 2011", "SeeDev"],
)
def test_gold_comes_back_in_words_but_for_those_that_cannot_be_written(
    shared_data: Path,
    names: list[str],
    split: str,
    trigger: bool,
    number: int,
    at_their_places: int,
    reasons: dict[str, int],
) -> None:
    """All words come back; which of their occurrences it was, the nearest ones tell mostly."""
    found_gold = [gold for name in names for gold in corpus(shared_data, name, split)]
    assignment = asked("ee", types=types_of(found_gold, trigger=trigger))
    seen, placed, why = 0, 0, Counter[str]()
    for document, gold in found_gold:
        found = back(assignment, document, gold)
        back_in_words, places = set(events.comparable(found)), set(told(found))
        for event, words, place in zip(
            gold.events, events.comparable(gold), told(gold), strict=True
        ):
            seen += 1
            placed += place in places
            if words not in back_in_words:
                why[lost(event, gold, document)] += 1
    assert (seen, dict(why), placed) == (number, reasons, at_their_places)


def test_gold_of_chip_cdee_comes_back_but_for_words_of_its_own(shared_data: Path) -> None:
    """CHIP-CDEE names states (否定) and normalised findings (疼痛) that the text does not hold."""
    folder = shared_data / "promptcblue-toy"
    gold_of = json.loads((folder / "dev_structured.json").read_text("utf-8"))["CHIP-CDEE"]
    prompts = {
        record["sample_id"]: record
        for record in map(json.loads, (folder / "dev.jsonl").read_text("utf-8").splitlines())
    }
    counts = Counter[str]()
    for record in gold_of:
        prompt = prompts[record["sample_id"]]
        document = chinese(prompt["input"])
        gold = Annotations()
        for number, finding in enumerate(record["answer"]):
            words = finding["主体词"]
            gold.mentions.append(Mention(number, "临床发现", words, None, None))
            arguments = [
                Argument(role, None, word)
                for role in ("发生状态", "描述词", "解剖部位")
                for word in ([finding[role]] if isinstance(finding[role], str) else finding[role])
                if word
            ]
            gold.events.append(Event(number, "临床发现", number, arguments))
        found = set(events.comparable(back(asked("ee", types=FINDING), document, gold)))
        for event, told_ in zip(gold.events, events.comparable(gold), strict=True):
            words = [gold.mentions[event.id].text, *(a.text for a in event.arguments)]
            absent = any(word not in document.text for word in words)
            counts["absent" if absent else "there"] += 1
            counts["back"] += told_ in found
            assert (told_ in found) or absent
    assert counts == {"there": 14, "absent": 17, "back": 14}
