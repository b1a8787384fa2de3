"""What a task is: pure functions from a document to questions, and from answers to annotations."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Protocol

from taiyi_ray.forms import Running
from taiyi_ray.grounding import Locator
from taiyi_ray.records import SEPARATOR, Annotations, Document, Grounded, Mention, Span
from taiyi_ray.tasks import items, template, thinking
from taiyi_ray.tasks.options import TaskOptions
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.vocabulary import Term

LANGUAGES = {"en": "English", "zh": "Chinese"}

WINDOWS = 2
"""Rises whenever documents are cut into other windows, or answers about one are put elsewhere in
the document, for the fingerprint."""

Message = dict[str, str]


class NotApplicable(Exception):
    """A task has nothing to ask of a document, for this reason: nothing failed."""


@dataclass(frozen=True)
class Window:
    """The part of a document that one question shows: ranges of its text, in one language.

    Attributes:
        spans: the ranges, in the order of the text.
        text: what stands there, joined by line feeds.
    """

    index: int
    spans: tuple[Span, ...]
    text: str

    @cached_property
    def running(self) -> Running:
        """What answers name pieces of: the text as it runs on over the ends of its lines."""
        parts = []
        at = 0
        for span in self.spans:
            length = span.end - span.start
            parts.append((span.start, self.text[at : at + length]))
            at += length + len(SEPARATOR)
        return Running(parts)

    def holds(self, start: int, end: int) -> bool:
        """Whether a range of the document's text lies in the window."""
        number = bisect_right(self.spans, start, key=lambda span: span.start) - 1
        return number >= 0 and end <= self.spans[number].end


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt about one document; `grammar` is Lark text for llguidance, or None.

    Attributes:
        types: what the answer may name: mention types, labels, sections.
        part: which of a task's questions this is, when their results are kept apart.
        several: whether several of `types` may be true at once.
    """

    task: str
    types: tuple[Term, ...]
    language: str
    window: Window
    messages: list[Message]
    grammar: str | None
    part: str | None = None
    several: bool = True

    @property
    def key(self) -> str:
        """What stands as `task` with the labels and texts of the answer."""
        return f"{self.task}:{self.part}" if self.part else self.task


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer says; `problem` names what was wrong with it (`invalid`, `not_in_text`)."""

    annotations: Annotations
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, false positives and false negatives of one document."""

    tp: int
    fp: int
    fn: int

    @classmethod
    def of(cls, predicted: Collection[Any], gold: Collection[Any]) -> Counts:
        """Exact match of what can be compared, each once."""
        mine, true = set(predicted), set(gold)
        return cls(len(mine & true), len(mine - true), len(true - mine))


class Read(Protocol):
    """Reads an answer; never raises.

    `cut` says that it ended before its end, so its last item is dropped; with `scores` what is
    found carries how sure the model was of it.
    """

    def __call__(
        self,
        text: str,
        question: Question,
        document: Document,
        *,
        cut: bool = False,
        scores: Scores | None = None,
    ) -> Parsed: ...


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of annotation. `version` rises whenever the same answer may be read differently.

    Attributes:
        summary: what it does, in a line.
        results: the columns that its results land in, and under which names.
        template: the name and version of its question (`ner.v2`).
        options: what a run may choose for it.
        questions: (document, assignment, limit) -> the questions; windows hold at most `limit`
            characters, or a whole language's text when it is None. Raises NotApplicable.
        read: (answer, question, document) -> annotations of the document.
        target: (question, gold) -> the answer that states the gold annotations, such that `parse`
            gives them back.
        score: (predicted, gold) -> counts, exact match.
    """

    name: str
    version: int
    summary: str
    results: str
    template: str
    options: type[TaskOptions]
    questions: Callable[[Document, Assignment, int | None], list[Question]]
    read: Read
    target: Callable[[Question, Annotations], str]
    score: Callable[[Annotations, Annotations], Counts]

    def parse(
        self,
        text: str,
        question: Question,
        document: Document,
        *,
        cut: bool = False,
        scores: Scores | None = None,
    ) -> Parsed:
        """Read an answer, but not what the model thought before it; a grammar lets it not think."""
        if question.grammar is None:
            text, scores = thinking.answer(text, scores)
        return self.read(text, question, document, cut=cut, scores=scores)

    @property
    def wordings(self) -> int:
        """In how many wordings it can be asked, in every language."""
        return min(len(template.wordings(self.template, language)) for language in LANGUAGES)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task as one run asks it.

    Attributes:
        options: of the task's own kind.
        grammar: constrain answers to what is in the text (`--grounding grammar`).
        document_first: the document before the instruction, so that several questions on one
            document share the prefix cache; with one question the fixed instruction goes first.
    """

    task: Task
    options: Any
    grammar: bool = True
    document_first: bool = False

    def questions(self, document: Document, limit: int | None = None) -> list[Question]:
        """The task's questions on a document; raises NotApplicable when there are none."""
        return self.task.questions(document, self, limit)

    def identity(self) -> dict[str, object]:
        """All of this task that can change an answer, for the fingerprint."""
        return {
            "version": self.task.version,
            "templates": {
                language: template.digest(self.task.template, language, self.options.wording)
                for language in LANGUAGES
            },
            **self.options.model_dump(mode="json", exclude={"wording"}),
        }

    def ask(
        self,
        language: str,
        window: Window,
        *,
        types: tuple[Term, ...] = (),
        part: str | None = None,
        several: bool = True,
        grammar: str | None = None,
        text: str | None = None,
        **values: object,
    ) -> Question:
        """A question about a window.

        Args:
            text: what the prompt shows, if that is not the text of the window.
            values: what the template wants besides `types`, the labels in the language.
        """
        labels = [term.label(language) for term in types]
        instruction = template.render(
            self.task.template, language, self.options.wording, {"types": labels, **values}
        )
        shown = window.text if text is None else text
        content = template.lay_out(instruction, shown, document_first=self.document_first)
        return Question(
            task=self.task.name,
            types=types,
            language=language,
            window=window,
            messages=[{"role": "user", "content": content}],
            grammar=grammar if self.grammar else None,
            part=part,
            several=several,
        )


# --------------------------------------------------------------------------------------- windows

# A sentence ends after Chinese marks at once; after Latin marks when white space follows, or (as
# in Chinese journals that use an ASCII full stop) when a Han character follows; before an empty
# line in any case. The end of any other line is none: running text goes on there.
_SENTENCE_END = re.compile(
    r"[。！？；][”’」』）)]*+|[.!?][\"')\]]*+(?=\s|[\u3400-\u9fff])|\n[^\S\n]*+\n"
)


def language_spans(document: Document, language: str, without: Collection[str] = ()) -> list[Span]:
    """The passages of one language, as ranges of the document's text, without some types."""
    return [
        Span(p.offset, p.end)
        for p in document.passages
        if p.language == language and p.type not in without
    ]


def pieces(text: str, span: Span, limit: int) -> list[Span]:
    """Cut a range into pieces of at most `limit` characters.

    Each ends with the last sentence that has room; where none has, with the last line, or word.
    """
    found, start = [], span.start
    while span.end > (most := start + limit):
        # One beyond the limit: whether a sentence ends there shows in the character that follows.
        ends = [m.end() for m in _SENTENCE_END.finditer(text, start, most + 1) if m.end() <= most]
        cut = ends[-1] if ends else _end_of(("\n", " "), text, start + 1, most)
        found.append(Span(start, cut))
        start = cut
        while start < span.end and text[start].isspace():
            start += 1
    if start < span.end:
        found.append(Span(start, span.end))
    return found


def _end_of(signs: Sequence[str], text: str, start: int, most: int) -> int:
    """Where the last of the first of these signs that stands there ends; `most` without any."""
    return next((at + 1 for sign in signs if (at := text.rfind(sign, start, most)) >= 0), most)


def windows(
    document: Document, language: str, limit: int | None, without: Collection[str] = ()
) -> list[Window]:
    """Split the text of one language into windows of at most `limit` characters.

    Without a limit there is one window, or none when the document has no such text. Where there is
    no letter or digit, there is nothing to ask about, and a grammar of mentions could not be met.
    """
    text = document.text
    groups: list[list[Span]] = []
    room = 0
    for whole in language_spans(document, language, without):
        for span in [whole] if limit is None else pieces(text, whole, limit):
            size = span.end - span.start + len(SEPARATOR)
            if not groups or (limit is not None and size > room):
                groups.append([])
                room = (limit or 0) + len(SEPARATOR)
            groups[-1].append(span)
            room -= size
    return [
        Window(index, tuple(spans), SEPARATOR.join(text[s.start : s.end] for s in spans))
        for index, spans in enumerate(groups)
        if any(character.isalnum() for s in spans for character in text[s.start : s.end])
    ]


def shown(
    document: Document,
    limit: int | None,
    *,
    languages: Collection[str] = tuple(LANGUAGES),
    without: Collection[str] = (),
    first: bool = False,
) -> list[tuple[str, Window]]:
    """The windows of each language, with it: what a task asks about.

    Args:
        without: types of passages that are not shown.
        first: only the first window of each language.

    Raises:
        NotApplicable: there is no such text.
    """
    found = [
        (language, window)
        for language in languages
        for window in windows(document, language, limit, without)[: 1 if first else None]
    ]
    if not found:
        named = " or ".join(LANGUAGES[language] for language in languages)
        besides = f" besides {', '.join(without)}" if without else ""
        raise NotApplicable(f"no text in {named}{besides}")
    return found


def locator(question: Question) -> Locator:
    """Finds surfaces in the window of the question: an answer names what it was asked about.

    A model that answers freely also gets its surfaces folded; under the grammar they are exact.
    """
    return Locator(question.window.running, question.language, fold=question.grammar is None)


def finder(question: Question) -> tuple[Callable[[str], tuple[list[Span], Grounded]], items.Stands]:
    """Finds surfaces, each once, and tells whether one stands in the window."""
    find = cache(locator(question).find)
    if question.grammar is not None:
        return find, items.as_written
    return find, lambda surface: bool(surface and find(surface)[0])


def located(
    document: Document,
    type_: str | None,
    surface: str,
    spans: Sequence[Span],
    how: Grounded,
    score: float | None,
) -> list[Mention]:
    """One mention for each place of a surface, or one without offsets when it has none.

    Its text is that of the document, with the line end that may be in it.
    """
    if not spans:
        return [Mention(0, type_, surface, None, None, grounded="none", score=score)]
    mentions = []
    for span in spans:
        number = document.passage_at(span.start)
        assert number is not None, "a place is in a passage"
        passage = document.passages[number]
        text = passage.text[span.start - passage.offset : span.end - passage.offset]
        mentions.append(Mention(0, type_, text, span.start, span.end, [], number, how, score))
    return mentions
