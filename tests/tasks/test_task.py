"""Windows, and the prompts that show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray import nothing
from taiyi_ray.records import Annotations, Document, Mention, passages
from taiyi_ray.tasks import TASKS, ner, relations
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Task, windows
from tests import samples
from tests.samples import asked, chinese, english

# ----------------------------------------------------------------------------------------- windows


def texts(document: Document, language: str, limit: int | None) -> list[str]:
    return [window.text for window in windows(document, language, limit)]


@pytest.mark.parametrize(
    ("document", "limit", "expected"),
    [
        pytest.param(english("One. Two."), None, ["One. Two."], id="no limit"),
        pytest.param(english("One.", "Two."), None, ["One.\nTwo."], id="passages joined"),
        pytest.param(english("One. Two."), 9, ["One. Two."], id="fits"),
        pytest.param(
            english("One two. Three (four.) Five! Six"),
            16,
            ["One two.", "Three (four.)", "Five! Six"],
            id="sentence ends, with brackets",
        ),
        pytest.param(english("At 3.5 mg of x"), 9, ["At 3.5 ", "mg of x"], id="no end in a number"),
        pytest.param(english("one two three"), 9, ["one two ", "three"], id="at a blank"),
        pytest.param(english("abcdefgh"), 3, ["abc", "def", "gh"], id="inside a word if it must"),
        pytest.param(
            chinese("患者头痛。用药后好转！“有效。”随访。"),
            10,
            ["患者头痛。", "用药后好转！", "“有效。”随访。"],
            id="Chinese sentence ends, with quotes",
        ),
        pytest.param(
            chinese("目的 观察疗效.方法 随机分组.结果 好."),
            12,
            ["目的 观察疗效.", "方法 随机分组.", "结果 好."],
            id="ASCII full stop before Han",
        ),
        pytest.param(
            chinese("一 观察疗效.𠮷 随机分组.豈 好."),
            10,
            ["一 观察疗效.", "𠮷 随机分组.", "豈 好."],
            id="ASCII full stop before rare Han",
        ),
        pytest.param(
            chinese("一二三四五六七"), 3, ["一二三", "四五六", "七"], id="Chinese, no end"
        ),
        pytest.param(english("One\ntwo three"), 8, ["One\n", "two ", "three"], id="line break"),
        pytest.param(
            english("One two\nthree. Four\nfive six."),
            18,
            ["One two\nthree.", "Four\nfive six."],
            id="no end where running text goes on in the next line",
        ),
        pytest.param(
            english("Methods\n\nOne two\nthree"),
            18,
            ["Methods\n\n", "One two\nthree"],
            id="an empty line",
        ),
        pytest.param(
            english("one two\nthree four\nfive six"),
            22,
            ["one two\nthree four\n", "five six"],
            id="lines without sentences",
        ),
        pytest.param(
            english("One (two.) Three."),
            10,
            ["One (two.)", "Three."],
            id="seen one beyond the limit",
        ),
        pytest.param(
            chinese("他说“好。”又说。"), 6, ["他说“好。”", "又说。"], id="quotes up to the limit"
        ),
        pytest.param(
            english("A b.", "C d e f. G h.", "I."), 9, ["A b.", "C d e f.", "G h.\nI."], id="packed"
        ),
        pytest.param(english(), None, [], id="no passage"),
        pytest.param(chinese("中文"), None, [], id="other language"),
        pytest.param(english(" \n\t", "..."), None, [], id="no letter or digit"),
        pytest.param(Document("d", []), 10, [], id="empty"),
    ],
)
def test_windows(document: Document, limit: int | None, expected: list[str]) -> None:
    language = "zh" if expected and "一" <= expected[0].strip("“")[0] <= "鿿" else "en"
    assert texts(document, language, limit) == expected


def test_windows_know_where_they_stand_in_a_document_of_two_languages() -> None:
    document = Document(
        "d",
        passages([("title", "en", "One."), ("title", "zh", "一。"), ("text", "en", "Two. Three.")]),
    )
    found = windows(document, "en", 9)
    assert [(w.index, [(s.start, s.end) for s in w.spans], w.text) for w in found] == [
        (0, [(0, 4), (8, 12)], "One.\nTwo."),
        (1, [(13, 19)], "Three."),
    ]
    assert [(w.index, w.text) for w in windows(document, "zh", None)] == [(0, "一。")]


@given(
    parts=st.lists(
        st.tuples(st.sampled_from(["en", "zh"]), st.text("ab1 .!?;\n\t。；”)中国-\u3000🧬")),
        max_size=5,
    ),
    limit=st.integers(1, 30) | st.none(),
)
def test_windows_cover_every_letter_once_within_the_limit(
    parts: list[tuple[str, str]], limit: int | None
) -> None:
    document = Document("d", passages(("text", language, text) for language, text in parts))
    text = document.text
    shown: list[int] = []
    for language in ("en", "zh"):
        for window in windows(document, language, limit):
            assert limit is None or len(window.text) <= limit
            assert window.text == "\n".join(text[s.start : s.end] for s in window.spans)
            for span in window.spans:
                (passage,) = [
                    p for p in document.passages if p.offset <= span.start < span.end <= p.end
                ]
                assert passage.language == language
                shown += range(span.start, span.end)
    assert len(set(shown)) == len(shown)
    left = set(range(len(text))) - set(shown)
    assert not any(text[at].isalnum() for at in left)


# ----------------------------------------------------------------------------------------- prompts

IN_ENGLISH = (
    "Extract the disease, gene or protein entities from the text. Copy each mention exactly as it "
    "is written, in the order of the text. Answer with one line a type, "
    '"type: mention; mention", leave out types without a mention, and answer "none" if there is no '
    "mention at all."
)
IN_CHINESE = (
    "抽取文本中具有下列关系的实体对：药物治疗。两个实体都须照原文抄写。每种关系一行，"
    "格式为“具有该关系的实体对如下：[头实体, 尾实体]; [头实体, 尾实体]”，"
    "没有实体对的关系不写，一个也没有时回答“无”。"
)


@pytest.mark.parametrize(
    ("task", "document", "instruction"),
    [
        (ner.TASK, english("{{ types }} <p53> & 'x'"), IN_ENGLISH),
        (relations.TASK, chinese("高血压。"), IN_CHINESE),
    ],
    ids=["ner en", "re zh"],
)
def test_instruction_comes_first_unless_questions_share_the_document(
    task: Task, document: Document, instruction: str
) -> None:
    names = "disease,gene" if task is ner.TASK else "treatment"
    (alone,) = asked(task.name, names).questions(document)
    assert alone.messages == [{"role": "user", "content": f"{instruction}\n\n{document.text}"}]
    (shared,) = asked(task.name, names, document_first=True).questions(document)
    assert shared.messages == [{"role": "user", "content": f"{document.text}\n\n{instruction}"}]


@pytest.mark.parametrize(("task", "names"), [("ner", "disease"), ("re", "treatment")])
def test_questions_are_asked_in_the_language_of_their_passages(task: str, names: str) -> None:
    document = Document(
        "d", passages([("a", "zh", "中文。"), ("b", "en", "English."), ("c", "de", "Deutsch.")])
    )
    questions = asked(task, names).questions(document)
    assert [(q.language, q.window.text) for q in questions] == [
        ("en", "English."),
        ("zh", "中文。"),
    ]
    assert [q.types[0].label(q.language) in q.messages[0]["content"] for q in questions] == [
        True,
        True,
    ]


@pytest.mark.parametrize("task", ["ner", "re"])
def test_questions_have_a_grammar_only_when_asked_for(task: str) -> None:
    document = english("text")
    assert [q.grammar is None for q in asked(task).questions(document)] == [False]
    assert [q.grammar is None for q in asked(task, grammar=False).questions(document)] == [True]


def test_a_grammar_is_made_only_when_answers_are_constrained() -> None:
    made: list[str] = []

    def grammar() -> str:
        made.append("a grammar")
        return made[-1]

    (window,) = windows(english("Aspirin relieves pain."), "en", None)
    for constrained, number in ((False, 0), (True, 1)):
        assignment = asked("ner", grammar=constrained)
        question = assignment.ask("en", window, types=ner.MENTION_TYPES[:1], grammar=grammar)
        assert question.grammar == ("a grammar" if constrained else None)
        assert len(made) == number


def test_identity_changes_with_the_types_and_names_both_templates() -> None:
    identity = asked("ner", "disease").identity()
    assert identity["types"] == [{"name": "disease", "en": "disease", "zh": "疾病"}]
    assert isinstance(identity["templates"], dict)
    assert sorted(identity["templates"]) == ["en", "zh"]
    assert len(set(identity["templates"].values())) == 2
    assert identity != asked("ner", "gene").identity()
    assert identity == asked("ner", "疾病").identity()


PIECES = """
Aspirin|eased|阿司匹林|头痛|disease: |疾病：|treatment: [|, |]|; |Binding: (Trigger: |, Theme: |)|
上述句子中的反应事件如下：|部位：|，|；|Result: |上述文本被分类为：|Treatment|yes|是|similar|
none|无|The report is as follows:|Diagnosis: |主诉：|语义相同|A|\x00"""
PARTS = [*PIECES.replace("\n", "").split("|"), "\n"]
ANY = st.text() | st.lists(st.sampled_from(PARTS)).map("".join)


@pytest.mark.parametrize("name", TASKS)
@given(answer=ANY, cut=st.booleans(), grammar=st.booleans())
def test_any_answer_to_any_task_is_read_without_error_and_mentions_are_of_the_text(
    name: str, answer: str, cut: bool, grammar: bool
) -> None:
    document = samples.everything()
    (assignment,) = samples.every(name, grammar=grammar)
    questions = assignment.questions(document)
    assert questions
    for question in questions:
        scores = Scores(answer, range(len(answer)), [-1.0] * len(answer))
        parsed = assignment.task.parse(answer, question, document, cut=cut, scores=scores)
        found = parsed.annotations
        for mention in found.mentions:
            if mention.start is not None:
                assert document.text[mention.start : mention.end] == mention.text
        ids = {mention.id for mention in found.mentions}
        assert all(a.mention in ids for event in found.events for a in event.arguments)
        assert {label.label for label in found.labels} <= {term.name for term in question.types}
        assert all(label.task == question.key for label in found.labels)
        assert all(text.task.startswith(question.key) and text.text for text in found.texts)
        assert parsed.problem in (None, "invalid", "empty", "not_in_text")
        if not answer.strip():
            assert parsed.problem in ("invalid", "empty")


# ------------------------------------------------------------------- answers as models write them

LISTS = {
    "ner": [{"types": ["disease", "gene"]}, {"types": ["disease"]}],
    "re": [{"relations": ["treatment", "drug_interaction"]}, {"relations": ["treatment"]}],
    "ee": [
        {"types": {"Binding": ["Theme"], "Growth": ["Site"]}},
        {"types": {"Binding": ["Theme"]}},
    ],
    "tc": [{"labels": ["Treatment", "Prevention"], "multi_label": True}],
}
"""The tasks whose answers are lists, asked about several types and about one."""

LIST_HEADS: dict[str, dict[str, str]] = {
    "ner": {"en": "disease: ", "zh": "疾病："},
    "re": {"en": "treatment: ", "zh": "具有药物治疗关系的实体对如下："},
    "ee": {"en": "Binding: ", "zh": "上述句子中的Binding事件如下："},
    "tc": {"en": "Result: ", "zh": "上述文本被分类为："},
}
SENTENCES = [
    "No entities are mentioned in the text",
    "None of the above",
    "There are no such relations or events",
    "文中没有提到相关实体",
    "未提及符合条件的内容",
]


@pytest.mark.parametrize("name", LISTS)
@settings(max_examples=150)
@given(data=st.data())
def test_a_wording_of_nothing_is_nothing_in_every_list(name: str, data: st.DataObject) -> None:
    def draw(choices: Iterable[Any]) -> Any:
        return data.draw(st.sampled_from(list(choices)))

    grammar, language = data.draw(st.booleans()), draw(["en", "zh"])
    text = "None had pain, no N/A, nil."
    document = english(text) if language == "en" else chinese("患者无发热，没有咳嗽，未提及其他。")
    (question,) = asked(name, grammar=grammar, **draw(LISTS[name])).questions(document)
    wording = draw([*nothing.WORDS, *([] if grammar else SENTENCES)])
    wording = draw([wording, wording.capitalize(), "N/A" if wording == "no" else wording.upper()])
    around = draw(["{}", "**{}**", "({})", "（{}）", "[{}]", "`{}`", '"{}"', "“{}”"])
    wording = around.format(wording)
    wording += draw(["", ".", "。", "!", " ", "\n"])
    head = LIST_HEADS[name][language]
    label = head.strip(" :：")
    heads = ["", head, head.upper(), f"**{label}**: ", f"**{label}：**", f"- {head}", f"{head}\n- "]
    heads += ["Result: ", "结果："]  # of the model's own
    answer = draw(heads) + wording
    parsed = TASKS[name].parse(answer, question, document)
    assert (parsed.annotations, parsed.problem) == (Annotations(), None), answer


@pytest.mark.parametrize("grammar", [True, False])
def test_what_is_nothing_of_one_type_leaves_the_other(grammar: bool) -> None:
    document = english("No pain: NO and aspirin helped. None died.")
    (question,) = asked("ner", "disease,chemical", grammar=grammar).questions(document)

    def found(answer: str) -> list[tuple[str | None, str]]:
        parsed = ner.TASK.parse(answer, question, document)
        return [(m.type, m.text) for m in parsed.annotations.mentions]

    assert found("disease: none\nchemical: aspirin") == [("chemical", "aspirin")]
    assert found("disease: None.\nchemical: NO") == [("chemical", "NO")]
    assert found("disease: pain; None") == [("disease", "pain"), ("disease", "None")]


EN_MENTIONS = ["aspirin", "2,4-D", "breast cancer", "head, neck and chest pain", "IL-2 (mild)", "x"]
ZH_MENTIONS = ["乳腺癌", "甲、乙型肝炎", "头痛", "2，3-二醇", "发热", "IL-2阳性"]


def inline(surfaces: list[str], language: str, draw: Callable[[list[str]], str]) -> str:
    """Items in a line, as chats separate, quote and bracket them."""
    around = draw(["{}", "**{}**", "`{}`", '"{}"', "“{}”"])
    between = draw(["；", "、", "，", ",", "; "] if language == "zh" else [", ", "; ", "；", ",  "])
    written = between.join(around.format(surface) for surface in surfaces)
    return draw(["{}", "[{}]", "{}。" if language == "zh" else "{}."]).format(written)


def below(surfaces: list[str], draw: Callable[[list[str]], str]) -> str:
    """Items in lines of their own, as chats begin them."""
    bullet = draw(["- ", "* ", "• ", "{}. ", "{}) ", "（{}） ", "{}、", "+ "])
    around = draw(["{}", "**{}**", "`{}`"])
    rows = [bullet.format(n) + around.format(s) for n, s in enumerate(surfaces, 1)]
    return "\n" + draw(["", "\n"]) + "\n".join(rows)


@settings(max_examples=150)
@given(data=st.data(), language=st.sampled_from(["en", "zh"]), single=st.booleans())
def test_lists_as_chats_write_them_are_read_as_the_answer_form_is(
    data: st.DataObject, language: str, single: bool
) -> None:
    def draw(choices: list[str]) -> str:
        return data.draw(st.sampled_from(choices))

    known = EN_MENTIONS if language == "en" else ZH_MENTIONS
    document = (english if language == "en" else chinese)(" | ".join(known) + " |")
    names = "disease" if single else "disease,chemical"
    (question,) = asked("ner", names, grammar=False).questions(document)
    gold, blocks = Annotations(), []
    for term in question.types:
        of_type = st.lists(st.sampled_from(known), min_size=1, max_size=4, unique=True)
        surfaces = data.draw(of_type)
        for surface in surfaces:
            start = document.text.index(surface)
            number = len(gold.mentions)
            gold.mentions.append(Mention(number, term.name, surface, start, start + len(surface)))
        label = term.label(language)
        colon = draw([":", "："])
        head = draw(["{}{}", "**{}{}**", "**{}**{}", "- **{}**{}", "{}{}"]).format(label, colon)
        in_line = data.draw(st.booleans())
        rest = f" {inline(surfaces, language, draw)}" if in_line else below(surfaces, draw)
        blocks.append(head + rest)
    answer = draw(["{}", "```\n{}\n```"]).format(draw(["\n", "\n\n"]).join(blocks))
    written, meant = (
        ner.TASK.parse(text, question, document)
        for text in (answer, ner.TASK.target(question, gold))
    )
    assert written.problem is None, answer
    key = lambda m: (m.type or "", m.start or 0)  # noqa: E731
    assert [(m.type, m.text, m.start) for m in sorted(written.annotations.mentions, key=key)] == [
        (m.type, m.text, m.start) for m in sorted(meant.annotations.mentions, key=key)
    ], answer


COMMAS, BULLETS = st.sampled_from([", ", "，", ","]), st.sampled_from(["- ", "1. ", ""])


@given(data=st.data(), comma=COMMAS, bullet=BULLETS)
def test_pairs_as_chats_write_them_are_read_as_the_answer_form_is(
    data: st.DataObject, comma: str, bullet: str
) -> None:
    document = english(" | ".join(EN_MENTIONS[:3]))
    (question,) = asked("re", "treatment,drug_interaction", grammar=False).questions(document)
    surface = st.sampled_from(EN_MENTIONS[:3])
    pairs = data.draw(st.lists(st.tuples(surface, surface), min_size=1, max_size=3, unique=True))
    rows = "\n".join(f"{bullet}[{head}{comma}{tail}]" for head, tail in pairs)
    parsed = relations.TASK.parse(f"**Treatment:**\n{rows}", question, document)
    assert parsed.problem is None
    assert [(r.head_text, r.tail_text) for r in parsed.annotations.relations] == pairs


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_asked_in_several_wordings_of_both_languages(name: str) -> None:
    (assignment,) = samples.every(name)
    assert assignment.task.wordings >= 3
    contents = [
        [q.messages[0]["content"] for q in reworded.questions(samples.everything())]
        for number in range(1, assignment.task.wordings + 1)
        for options in [assignment.options.model_copy(update={"wording": number})]
        for reworded in [replace(assignment, options=options)]
    ]
    for at_same_place in zip(*contents, strict=True):
        assert len(set(at_same_place)) == assignment.task.wordings
    identities = [
        replace(assignment, options=assignment.options.model_copy(update={"wording": n})).identity()
        for n in (1, 2)
    ]
    assert identities[0] != identities[1]


def test_asked_apart_each_mention_type_has_a_question_of_its_own() -> None:
    document = Document("d", passages([("a", "zh", "中文。"), ("b", "en", "English.")]))
    together = asked("ner", "disease,gene")
    apart = asked("ner", "disease,gene", ask="apart")
    terms = together.options.types
    assert [q.types for q in ner.questions(document, together)] == [terms] * 2
    assert [q.types for q in ner.questions(document, apart)] == [(term,) for term in terms] * 2
    for question in ner.questions(document, apart):
        (term,) = question.types
        (other,) = set(terms) - {term}
        content = question.messages[0]["content"]
        assert term.label(question.language) in content
        assert other.label(question.language) not in content
