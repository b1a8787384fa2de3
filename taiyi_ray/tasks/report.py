"""A report on a consultation or case, with one line for each section.

The Chinese form is Taiyi's (github.com/DUTIR-BioNLP/Taiyi-LLM, README, after IMCS-V2-MRG), the
English one ours:

    zh    上述问诊对话的诊疗报告如下：⏎主诉：...⏎现病史：...
    en    The report is as follows:⏎Chief complaint: ...⏎History of present illness: ...

Every section has a line. A section with nothing to say is empty (or `none`, `无`) and gives no
text in the results.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Annotated

from pydantic import Field

from taiyi_ray import nothing
from taiyi_ray.grounding import sections_grammar
from taiyi_ray.names import AROUND_HEADS
from taiyi_ray.records import Annotations, Document, Text
from taiyi_ray.tasks import lines, losses, texts
from taiyi_ray.tasks.dialogue import ROLES, SPEAKERS
from taiyi_ray.tasks.options import TaskOptions, named
from taiyi_ray.tasks.scores import Piece, Scores
from taiyi_ray.tasks.task import Assignment, Parsed, Question, Task, Window, shown
from taiyi_ray.tasks.vocabulary import Term

SECTIONS = (
    Term("chief_complaint", "Chief complaint", "主诉"),
    Term("present_illness", "History of present illness", "现病史"),
    Term("examination", "Auxiliary examination", "辅助检查"),
    Term("past_history", "Past medical history", "既往史"),
    Term("diagnosis", "Diagnosis", "诊断"),
    Term("advice", "Advice", "建议"),
)

_LEAD_IN = {"en": "The report is as follows:", "zh": "上述问诊对话的诊疗报告如下："}


class Options(TaskOptions):
    """The sections of a report."""

    sections: Annotated[tuple[Term, ...], named(SECTIONS, AROUND_HEADS)] = Field(
        SECTIONS, description="the sections of the report"
    )


def _heads(question: Question) -> list[str]:
    colon = lines.COLON[question.language]
    return [term.label(question.language) + colon for term in question.types]


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each language and window, about all sections.

    The turns of a dialogue are shown with the names of their speakers.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.
    """
    return [
        _question(assignment, language, window, _spoken(document, window, language))
        for language, window in shown(document, limit)
    ]


def _question(assignment: Assignment, language: str, window: Window, text: str) -> Question:
    sections = assignment.options.sections
    first, *others = [(term.label(language) + lines.COLON[language]).strip() for term in sections]
    # Every answer has the head: a grammar leaves no other way, and models are trained so.
    known = assignment.grammar or assignment.headed
    return assignment.ask(
        language,
        window,
        types=sections,
        grammar=partial(sections_grammar, ["", *(f"\n{head}" for head in others)]),
        head=f"{_LEAD_IN[language]}\n{first}" if known else "",
        text=text,
    )


def _spoken(document: Document, window: Window, language: str) -> str:
    """The text of a window, in which the name of the speaker stands before each turn."""
    speakers = {
        p.offset: SPEAKERS[language][ROLES[p.type]] for p in document.passages if p.type in ROLES
    }
    text = document.text
    return "\n".join(
        speakers.get(span.start, "") + text[span.start : span.end] for span in window.spans
    )


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the sections; a line without a known head belongs to the section above it.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    sections, problem = _read(text, question)
    texts = [Text(f"{question.key}:{name}", section) for name, section in sections.items()]
    return Parsed(Annotations(texts=texts), problem)


def _read(text: str, question: Question) -> tuple[dict[str, str], str | None]:
    """The sections of an answer that say something, by name, and the problem, if any."""
    written: dict[str, list[str]] = {}
    problem = None if text.strip() else "empty"
    current: list[str] | None = None
    labels = [term.label(question.language) for term in question.types]
    heads = lines.Heads(labels, _heads(question))
    body = text.strip().removeprefix(_LEAD_IN[question.language])
    for line in (Piece(line, 0).strip() for line in body.splitlines()):
        if lines.is_fence(line):
            continue
        said = line
        if line.text and (head := heads.of(line)):
            number, said = head
            current = written.setdefault(question.types[number].name, [])
        elif current is None and line.text:
            problem = "invalid"
        if said.text and current is not None:
            current.append(said.text)
    problem = problem or (None if written else "invalid")
    sections = {name: "\n".join(parts) for name, parts in written.items()}
    return {
        name: section
        for name, section in sections.items()
        if section and not nothing.is_said(section, labels)
    }, problem


def target(question: Question, gold: Annotations) -> str:
    """The report of the gold sections; line breaks within one become blanks."""
    sections = {text.task: " ".join(text.text.split("\n")) for text in gold.texts}
    written = [
        (head + sections.get(f"{question.key}:{term.name}", "")).strip()
        for head, term in zip(_heads(question), question.types, strict=True)
    ]
    return "\n".join([_LEAD_IN[question.language], *written])


def lost(question: Question, gold: Annotations) -> Counter[str]:
    """Count the gold sections that do not come back, by reason."""
    back, _ = _read(target(question, gold), question)
    names = {f"{question.key}:{term.name}": term.name for term in question.types}
    last = {text.task: text.text for text in gold.texts}

    def reason(text: Text) -> str | None:
        if text.task not in names:
            return losses.NOT_ASKED
        if text.text != last[text.task]:
            return losses.SECOND
        if back.get(names[text.task]) == text.text:
            return None
        if not text.text.strip():
            return losses.NO_WORDS
        if text.text != text.text.strip():
            return losses.BLANK
        lines_ = len(text.text.splitlines())
        return losses.LINES if lines_ > 1 else losses.misread([text.text])

    return losses.count(
        losses.Stated((text.task, text.text), text.text, reason(text))
        for text in gold.texts
        if text.task.startswith(f"{question.key}:")
    )


TASK = Task(
    name="report",
    version=2,
    summary="a report on a consultation or a case, in sections",
    results="`texts`, as `report:SECTION`",
    template="report.v1",
    options=Options,
    questions=questions,
    read=parse,
    target=target,
    lost=lost,
    score=texts.score,
)
