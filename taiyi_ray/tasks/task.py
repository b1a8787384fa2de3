"""What a task is: pure functions from a document to questions, and from answers to annotations."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import takewhile
from typing import Protocol

import jinja2

from taiyi_ray.grounding import Locator
from taiyi_ray.records import SEPARATOR, Annotations, Document, Grounded, Mention, Span
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.vocabulary import Term

LANGUAGES = ("en", "zh")
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Options:
    """What a run asks of its tasks.

    Attributes:
        types: mention types, in the order of the answer's lines.
        relations: relation types, likewise.
        grammar: constrain answers to what is in the text (`--grounding grammar`).
        together: ask about all mention types in one question, else about each in one of its own.
        document_first: the document before the instruction, so that several questions on one
            document share the prefix cache; with one question the fixed instruction goes first.
    """

    types: tuple[Term, ...]
    relations: tuple[Term, ...]
    grammar: bool
    together: bool
    document_first: bool


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a document that one question shows: ranges of its text, in one language."""

    index: int
    spans: tuple[Span, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt about one document; `grammar` is Lark text for llguidance, or None."""

    task: str
    types: tuple[Term, ...]
    language: str
    window: Window
    messages: list[Message]
    grammar: str | None


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


class Parse(Protocol):
    """Read an answer.

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
        questions: (document, options, limit) -> the questions; windows hold at most `limit`
            characters, or a whole language's text when it is None.
        parse: (answer, question, document) -> annotations of the document; never raises.
        target: (question, document, gold) -> the answer that states the gold annotations, such
            that `parse` gives them back.
        score: (predicted, gold) -> counts, exact match.
    """

    name: str
    version: int
    summary: str
    questions: Callable[[Document, Options, int | None], list[Question]]
    parse: Parse
    target: Callable[[Question, Annotations], str]
    score: Callable[[Annotations, Annotations], Counts]
    terms: Callable[[Options], tuple[Term, ...]]
    template: str

    def identity(self, options: Options) -> dict[str, object]:
        """All of this task that can change an answer, for the fingerprint."""
        return {
            "version": self.version,
            "terms": [[term.name, term.en, term.zh] for term in self.terms(options)],
            "templates": {lang: _template_digest(self.template, lang) for lang in LANGUAGES},
        }


# ------------------------------------------------------------------------------------- templates


def _template_text(name: str, language: str) -> str:
    resource = files("taiyi_ray.tasks").joinpath("templates", f"{name}.{language}.jinja")
    return resource.read_text(encoding="utf-8")


def _template_digest(name: str, language: str) -> str:
    return hashlib.sha256(_template_text(name, language).encode()).hexdigest()[:16]


@cache
def _template(name: str, language: str) -> jinja2.Template:
    template: jinja2.Template = jinja2.Template(
        _template_text(name, language), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return template


def ask(
    task: Task,
    groups: Sequence[tuple[Term, ...]],
    grammar: Callable[[tuple[Term, ...], str, str], str],
    document: Document,
    options: Options,
    limit: int | None,
) -> list[Question]:
    """The questions for each language and window: one on each group of types.

    `grammar` makes the Lark grammar of (types, window text, language).
    """
    return [
        Question(
            task=task.name,
            types=group,
            language=language,
            window=window,
            messages=_messages(task.template, language, window.text, group, options),
            grammar=grammar(group, window.text, language) if options.grammar else None,
        )
        for language in LANGUAGES
        for window in windows(document, language, limit)
        for group in groups
    ]


def _messages(
    template: str, language: str, text: str, types: Sequence[Term], options: Options
) -> list[Message]:
    content = _template(template, language).render(
        text=text,
        types=[term.label(language) for term in types],
        document_first=options.document_first,
    )
    return [{"role": "user", "content": content}]


# --------------------------------------------------------------------------------------- windows

# A sentence ends after Chinese marks at once; after Latin marks when white space follows, or (as
# in Chinese journals that use an ASCII full stop) when a Han character follows.
_SENTENCE_END = re.compile(
    r"[。！？；](?:[”’」』）)]*)|[.!?](?:[\"')\]]*)(?=\s|[\u3400-\u9fff])|\n"
)


def language_spans(document: Document, language: str) -> list[Span]:
    """The passages of one language, as ranges of the document's text."""
    return [Span(p.offset, p.end) for p in document.passages if p.language == language]


def _pieces(text: str, span: Span, limit: int) -> list[Span]:
    """Cut a range into pieces of at most `limit` characters, at ends of sentences if possible."""
    pieces, start = [], span.start
    while span.end > (most := start + limit):
        # Searched beyond the limit: whether a sentence ends there shows in what follows.
        found = (m.end() for m in _SENTENCE_END.finditer(text, start, span.end))
        ends = list(takewhile(lambda end: end <= most, found))
        cut = ends[-1] if ends else text.rfind(" ", start + 1, most) + 1 or most
        pieces.append(Span(start, cut))
        start = cut
        while start < span.end and text[start].isspace():
            start += 1
    if start < span.end:
        pieces.append(Span(start, span.end))
    return pieces


def windows(document: Document, language: str, limit: int | None) -> list[Window]:
    """Split the text of one language into windows of at most `limit` characters.

    Without a limit there is one window, or none when the document has no such text. Where there is
    no letter or digit, there is nothing to ask about, and a grammar of mentions could not be met.
    """
    text = document.text
    groups: list[list[Span]] = []
    room = 0
    for whole in language_spans(document, language):
        for span in [whole] if limit is None else _pieces(text, whole, limit):
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


def locator(question: Question, document: Document) -> Locator:
    """Finds surfaces in all passages of the question's language.

    A model that answers freely also gets its surfaces folded; under the grammar they are exact.
    """
    spans = language_spans(document, question.language)
    return Locator(document.text, spans, question.language, fold=question.grammar is None)


def located(
    document: Document,
    type_: str | None,
    surface: str,
    spans: Sequence[Span],
    how: Grounded,
    score: float | None,
) -> list[Mention]:
    """One mention for each place of a surface, or one without offsets when it has none."""
    if not spans:
        return [Mention(0, type_, surface, None, None, grounded="none", score=score)]
    text = document.text
    return [
        Mention(
            id=0,
            type=type_,
            text=text[span.start : span.end],
            start=span.start,
            end=span.end,
            passage=_passage_of(document, span.start),
            grounded=how,
            score=score,
        )
        for span in spans
    ]


def _passage_of(document: Document, start: int) -> int:
    return next(i for i, p in enumerate(document.passages) if p.offset <= start < p.end)
