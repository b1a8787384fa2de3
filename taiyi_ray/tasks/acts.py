"""Dialogue acts: what a turn of a dialogue does, such as to ask about a symptom.

The turns are passages as in `dialogue.py`. The answer is the bare label (Taiyi publishes no form;
PromptCBLUE's IMCS-V2-DAC answers so). The default labels are those of IMCS-V2-DAC.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from taiyi_ray.records import Annotations, Document, Passage
from taiyi_ray.tasks import labels
from taiyi_ray.tasks.dialogue import ROLES, SPEAKERS
from taiyi_ray.tasks.options import TaskOptions, named
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Assignment, NotApplicable, Parsed, Question, Task, Window, shown
from taiyi_ray.tasks.vocabulary import LANGUAGES, Term

ACTS = (
    Term("request_symptom", "request: symptom", "关于症状的询问"),
    Term("inform_symptom", "inform: symptom", "关于症状的回答"),
    Term("request_etiology", "request: etiology", "关于病因的询问"),
    Term("inform_etiology", "inform: etiology", "关于病因的回答"),
    Term("request_basic_information", "request: basic information", "关于个人基本信息的询问"),
    Term("inform_basic_information", "inform: basic information", "关于个人基本信息的回答"),
    Term(
        "request_existing_examination_and_treatment",
        "request: existing examination and treatment",
        "关于已有检查和治疗的提问",
    ),
    Term(
        "inform_existing_examination_and_treatment",
        "inform: existing examination and treatment",
        "关于已有检查和治疗的回答",
    ),
    Term("request_drug_recommendation", "request: drug recommendation", "关于用药建议的提问"),
    Term("inform_drug_recommendation", "inform: drug recommendation", "关于用药建议的解答"),
    Term("request_medical_advice", "request: medical advice", "关于就医建议的提问"),
    Term("inform_medical_advice", "inform: medical advice", "关于就医建议的解答"),
    Term("request_precautions", "request: precautions", "关于注意事项的提问"),
    Term("inform_precautions", "inform: precautions", "关于注意事项的解答"),
    Term("diagnose", "diagnosis", "给出诊断"),
    Term("other", "other", "其他"),
)


class Options(TaskOptions):
    """The acts, and the turns that are asked about."""

    labels: Annotated[tuple[Term, ...], named(ACTS)] = Field(
        ACTS, description="the acts to choose from: names, or for each name its `en` and `zh`"
    )
    turns: Literal["each", "last"] = Field(
        "each", description="whether each turn is asked about, or only the last one"
    )


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each turn that is asked about, which shows all turns of its window.

    The turns are numbered from 1 in the order of the document, whatever their language.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.

    Raises:
        NotApplicable: the document has no turns in English or Chinese.
    """
    options: Options = assignment.options
    turns = _turns(document)
    asked = _asked(turns, options)
    return [
        assignment.ask(
            language,
            window,
            types=options.labels,
            part=str(number) if options.turns == "each" else None,
            multi_label=False,
            grammar=partial(labels.grammar, "", options.labels, language, multi_label=False),
            text=_numbered(document, window, turns, language),
            turn=number,
            words=turn.text.strip(),
        )
        for language, window in shown(document, limit)
        for number, turn in asked.items()
        if any(span.start == turn.offset for span in window.spans)
    ]


def asks(document: Document, assignment: Assignment) -> int:
    """How many turns there are to ask about."""
    return len(_asked(_turns(document), assignment.options))


def _turns(document: Document) -> dict[int, Passage]:
    """The turns in English or Chinese by their numbers."""
    turns = [p for p in document.passages if p.type in ROLES and p.text.strip()]
    numbered = {n: turn for n, turn in enumerate(turns, 1) if turn.language in LANGUAGES}
    if not numbered:
        raise NotApplicable(f"no passage of the types {', '.join(ROLES)}")
    return numbered


def _asked(turns: dict[int, Passage], options: Options) -> dict[int, Passage]:
    return turns if options.turns == "each" else dict(list(turns.items())[-1:])


def _numbered(document: Document, window: Window, turns: dict[int, Passage], language: str) -> str:
    """The text of a window, in which number and speaker stand before each turn.

    Args:
        document: the document.
        window: the window.
        turns: the turns by their numbers.
        language: of the names of the speakers.
    """
    heads = {
        turn.offset: f"[{number}] {SPEAKERS[language][ROLES[turn.type]]}"
        for number, turn in turns.items()
    }
    text = document.text
    return "\n".join(heads.get(s.start, "") + text[s.start : s.end] for s in window.spans)


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the label of the turn.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    return labels.parse(text, question, "", cut=cut, scores=scores)


def target(question: Question, gold: Annotations) -> str:
    """The gold label of the turn."""
    return labels.target(question, gold, "")


TASK = Task(
    name="act",
    version=1,
    summary="dialogue acts: what each turn of a dialogue does",
    results="`labels`, as `act:NUMBER` of a turn (or `act`, of the last turn alone)",
    template="act.v1",
    options=Options,
    questions=questions,
    read=parse,
    target=target,
    lost=labels.lost,
    score=labels.score,
    asks=asks,
)
