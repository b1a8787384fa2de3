"""Question answering on a document: a free answer, yes / no / maybe, or one of the given choices.

A run asks the same questions about every document, or each document asks its own: a passage of the
type `question`, followed by passages of the type `choice`. The other passages are the context; an
exam question has none. Of these answer forms, Taiyi shows only the free one:

    free      the bare answer
    yes, no   yes | no | maybe        是 | 否 | 不确定
    choice    A                       the letter of a choice
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BeforeValidator, Field, model_validator

from taiyi_ray.names import checked_name
from taiyi_ray.records import Annotations, Document, Passage, Span
from taiyi_ray.tasks import labels, texts
from taiyi_ray.tasks.options import TaskOptions, named
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import (
    Assignment,
    Counts,
    NotApplicable,
    Parsed,
    Question,
    Task,
    Window,
    shown,
)
from taiyi_ray.tasks.vocabulary import LANGUAGES, Term

OWN_QUESTION, _CHOICE = "question", "choice"
_VERDICTS = (Term("yes", "yes", "是"), Term("no", "no", "否"), Term("maybe", "maybe", "不确定"))
_LETTER = re.compile(
    r"\s*[(（]?([A-Z])"
    r"(?=[^\S\n]*(?:[)）.．。:：、,，;；\n]|[-–—]\s|$)|\s+(?:is|because)\b|\s*(?:是|正确|因))"
)
"""A letter that stands for a choice. In `A 45-year-old man` and `B cells` it is a word or a part of
one."""

_ANOTHER = re.compile(r"[)）]?\s*[,，、;；]\s*[(（]?[A-Z](?!\w)")
"""What follows a letter where more than one is named."""


def _by_name(value: object) -> object:
    """Read questions by name; the words of a question without a name are its name."""
    if isinstance(value, (list, tuple)):
        return {checked_name(question): question for question in value}
    if isinstance(value, Mapping):
        return {checked_name(name): question for name, question in value.items()}
    raise ValueError("expected a list of questions, or questions by name")


class Options(TaskOptions):
    """What is asked, and what an answer is."""

    form: Literal["free", "yes_no", "yes_no_maybe", "choice"] = Field(
        "free", description="the form of an answer: a free text, a verdict, or one of the choices"
    )
    questions: Annotated[dict[str, str], BeforeValidator(_by_name)] = Field(
        {},
        description="the questions to ask about every document: a list, or a mapping of names to "
        "questions; without it, each document asks its own: its passages of the type `question`",
    )
    choices: Annotated[tuple[Term, ...], named()] = Field(
        (),
        max_length=len(string.ascii_uppercase),
        description="the choices of `questions` with `form: choice`; the choices of a document's "
        "own question are the passages of the type `choice` that follow it",
    )

    @model_validator(mode="after")
    def _choices_where_needed(self) -> Self:
        if bool(self.choices) != (self.form == "choice" and bool(self.questions)):
            raise ValueError(
                "give `choices` together with `questions` and `form: choice`, and leave them out "
                "otherwise"
            )
        return self


class _Worded(NamedTuple):
    """A question in words.

    Attributes:
        words: the question.
        part: the name of its results, where a run has more than one question.
        choices: the words of each choice, by the label that an annotation gets for it.
    """

    words: str
    part: str | None
    choices: dict[str, str]


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Ask the questions of the run, or the document's own, about each language and window.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.

    Raises:
        NotApplicable: the run has no questions and the document has none either, or the document
            has no choices or no text.
    """
    options: Options = assignment.options
    if options.questions:
        return [
            _question(assignment, language, window, window.text, _Worded(words, name, choices))
            for language, window in shown(document, limit, without=(OWN_QUESTION, _CHOICE))
            for choices in [{c.name: c.label(language) for c in options.choices}]
            for name, words in options.questions.items()
        ]
    own = list(_own(document, options))
    try:
        context = shown(document, limit, without=(OWN_QUESTION, _CHOICE))
    except NotApplicable:
        context = []
    return [
        _question(assignment, language, window, text, asked)
        for passage, asked in own
        for language, window, text in (
            [(language, window, window.text) for language, window in context]
            or [(passage.language, _itself(passage), "")]
        )
    ]


def _own(document: Document, options: Options) -> Iterator[tuple[Passage, _Worded]]:
    """Yield the document's own questions in English or Chinese, each with its passage."""
    own = _with_choices(document)
    if not own:
        raise NotApplicable("the run has no questions, and no passage has the type question")
    choosing = options.form == "choice"
    if choosing and not any(choices for _, choices in own):
        raise NotApplicable("no passage of the type choice follows a question")
    for number, (passage, choices) in enumerate(own, 1):
        if choices or not choosing:
            lettered = dict(zip(string.ascii_uppercase, choices, strict=False))
            part = str(number) if len(own) > 1 else None
            yield passage, _Worded(passage.text.strip(), part, lettered if choosing else {})


def _with_choices(document: Document) -> list[tuple[Passage, list[str]]]:
    """The document's own questions in English or Chinese, each with the words of its choices."""
    own: list[tuple[Passage, list[str]]] = []
    for passage in document.passages:
        if passage.type == OWN_QUESTION and passage.language in LANGUAGES:
            own.append((passage, []))
        elif passage.type == _CHOICE and own:
            own[-1][1].append(passage.text.strip())
    return own


def _itself(passage: Passage) -> Window:
    return Window(0, (Span(passage.offset, passage.end),), passage.text)


def _question(
    assignment: Assignment, language: str, window: Window, text: str, asked: _Worded
) -> Question:
    options: Options = assignment.options
    types: tuple[Term, ...] = ()
    if options.form == "choice":
        letters = zip(asked.choices, string.ascii_uppercase, strict=False)
        types = tuple(Term(name, letter, letter) for name, letter in letters)
    elif options.form != "free":
        types = _VERDICTS[: 3 if options.form == "yes_no_maybe" else 2]
    return assignment.ask(
        language,
        window,
        types=types,
        part=asked.part,
        multi_label=False,
        grammar=partial(labels.grammar, "", types, language, multi_label=False) if types else None,
        text=text,
        form=options.form,
        question=asked.words,
        choices=list(zip(string.ascii_uppercase, asked.choices.values(), strict=False)),
        context=bool(text),
    )


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read a free answer as a text, and a verdict or the letter of a choice as a label.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    if not question.types:
        return texts.parse(text, question, document, cut=cut, scores=scores)
    if all(len(term.en) == 1 for term in question.types):
        return _choice(text, question, document, cut=cut, scores=scores)
    return labels.parse(text, question, "", cut=cut, scores=scores)


def _choice(
    text: str, question: Question, document: Document, *, cut: bool, scores: Scores | None
) -> Parsed:
    """Read the letter of a choice, or its words, perhaps behind the letter."""
    words = _words(question, document)
    letter = _letter(text, {term.en: words.get(term.name) for term in question.types})
    if letter and not _ANOTHER.match(text, letter.end(1)):
        text = text[: letter.end(1)]
    known = tuple(Term(t.name, t.en, words.get(t.name, t.zh)) for t in question.types)
    return labels.parse(text, replace(question, types=known), "", cut=cut, scores=scores)


def _letter(text: str, words: Mapping[str, str | None]) -> re.Match[str] | None:
    """The letter that an answer begins with, if it stands for a choice.

    Args:
        text: the answer.
        words: the words of each choice by its letter, where they are known.
    """
    if text.strip() in words.values():
        return None  # `E. coli`
    for letter, of_choice in words.items():
        if of_choice and (found := re.match(rf"\s*({letter})\s+{re.escape(of_choice)}", text)):
            return found
    found = _LETTER.match(text)
    return found if found and found[1] in words else None


def _words(question: Question, document: Document) -> dict[str, str]:
    """The words of choices by their names: those of the run, or of the document's own question."""
    if any(term.name != term.en for term in question.types):
        return {term.name: term.name for term in question.types}
    number = question.part or "1"
    own = _with_choices(document)
    if not number.isdecimal() or int(number) > len(own):
        return {}
    choices = own[int(number) - 1][1]
    return {
        letter: words
        for letter, words in zip(string.ascii_uppercase, choices, strict=False)
        if words
    }


def target(question: Question, gold: Annotations) -> str:
    """The gold answer, in the form of the question."""
    return labels.target(question, gold, "") if question.types else texts.target(question, gold)


def lost(question: Question, gold: Annotations) -> Counter[str]:
    """Count the gold answers that are not stated, by reason."""
    return labels.lost(question, gold) if question.types else texts.lost(question, gold)


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of labels and texts."""
    of = [labels.score(predicted, gold), texts.score(predicted, gold)]
    return Counts(sum(c.tp for c in of), sum(c.fp for c in of), sum(c.fn for c in of))


TASK = Task(
    name="qa",
    version=3,
    summary="question answering: free, yes / no / maybe, or multiple choice",
    results="`texts` (form `free`) or `labels`, as `qa`, or `qa:NAME` where questions have names",
    template="qa.v1",
    options=Options,
    questions=questions,
    read=parse,
    target=target,
    lost=lost,
    score=score,
)
