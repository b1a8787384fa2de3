"""A task: pure functions that make questions on a document and read annotations from answers."""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Protocol

from taiyi_ray.forms import HAN, Running
from taiyi_ray.grounding import Locator, behind
from taiyi_ray.records import SEPARATOR, Annotations, Document, Grounded, Mention, Span
from taiyi_ray.tasks import items, template, thinking
from taiyi_ray.tasks.options import TaskOptions, validated
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.similar import Similar
from taiyi_ray.tasks.template import AskingForm
from taiyi_ray.tasks.vocabulary import LANGUAGES, Term

WINDOWS = 2
"""The version of the windows, for the fingerprint. Raise it when documents are cut into other
windows, or when the same answer about a window gets other offsets in the document."""

Message = dict[str, str]


class NotApplicable(Exception):
    """A task has nothing to ask about a document. This is no failure; the message is the reason."""


@dataclass(frozen=True)
class Window:
    """The part of a document that one question shows, in one language.

    Attributes:
        index: the number of the window among those of its language, from 0.
        spans: half-open ranges of code points in the document's text, in the order of the text.
        text: the texts of the spans, joined by line feeds.
    """

    index: int
    spans: tuple[Span, ...]
    text: str

    @cached_property
    def running(self) -> Running:
        """The text as running text, in which line ends inside a sentence are white space.

        Answers name pieces of it.
        """
        parts = []
        at = 0
        for span in self.spans:
            length = span.end - span.start
            parts.append((span.start, self.text[at : at + length]))
            at += length + len(SEPARATOR)
        return Running(parts)

    def holds(self, start: int, end: int) -> bool:
        """Whether one span of the window holds the whole range, given as document offsets."""
        number = bisect_right(self.spans, start, key=lambda span: span.start) - 1
        return number >= 0 and end <= self.spans[number].end


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a task about one window of a document.

    Attributes:
        task: the name of the task.
        types: what the answer may name: mention types, relation types, labels, sections.
        language: the language of the question and of its window.
        window: the part of the document that the answer is about.
        messages: the chat messages that put the question to a model.
        grammar: the grammar of the answer in Lark's form, for llguidance; None for a free answer.
            It begins behind `given`.
        head: what every answer to the question begins with, if that is known before it is asked.
        part: a name for this question where a task keeps the results of its questions apart.
        multi_label: whether more than one of `types`, or none of them, may be true.
        mentions: the mentions that the question is about, if it is about known ones. Their ids mean
            nothing.
    """

    task: str
    types: tuple[Term, ...]
    language: str
    window: Window
    messages: list[Message]
    grammar: str | None
    head: str = ""
    part: str | None = None
    multi_label: bool = True
    mentions: tuple[Mention, ...] = ()

    @property
    def given(self) -> str:
        """The part of the answer that a prompt can hold, so that the model writes only the rest.

        It is the head without the blank at its end: most tokenizers make one token of a blank and
        the word behind it.
        """
        return self.head.rstrip()

    @property
    def whole_grammar(self) -> str | None:
        """The grammar of the whole answer, for a prompt that does not hold its beginning."""
        return behind(self.given, self.grammar) if self.given and self.grammar else self.grammar

    @property
    def key(self) -> str:
        """The value of the column `task` in the labels and texts of the answer."""
        return f"{self.task}:{self.part}" if self.part else self.task


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer says.

    Attributes:
        annotations: the annotations that the answer states.
        problem: the fault of the answer, if any: `invalid`, `not_in_text` or `empty`.
    """

    annotations: Annotations
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of predicted annotations against the gold ones.

    Attributes:
        tp: true positives.
        fp: false positives.
        fn: false negatives.
    """

    tp: int
    fp: int
    fn: int

    @classmethod
    def of(cls, predicted: Iterable[Any], gold: Iterable[Any]) -> Counts:
        """Count exact matches; equal items count once."""
        mine, true = set(predicted), set(gold)
        return cls(len(mine & true), len(mine - true), len(true - mine))


class Read(Protocol):
    """Reads an answer; never raises.

    When `cut` is true, the answer stopped too early, and a last item that may be unfinished is
    dropped; free text is kept. With `scores`, mentions, relations and labels say how sure the model
    was of them.
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
    """One kind of annotation.

    Attributes:
        name: the name of the task, as `--tasks` knows it.
        version: a number for the fingerprint. Raise it when the same answer may be read otherwise.
        summary: what the task does, in one line.
        results: the columns that hold its results, and the names of the results there.
        template: the name and version of the template of its questions (`ner.v2`); empty for a task
            whose questions have no instruction.
        options: the class of the options that a run may set.
        questions: (document, assignment, limit) -> the questions. A window holds at most `limit`
            characters, or all text of one language when it is None. Raises NotApplicable.
        read: (answer, question, document) -> annotations of the document.
        target: (question, gold) -> the answer that states the gold annotations, as far as the
            answer form can state them; `parse` reads these annotations back from it. `answer` puts
            the head of the question before it where it is missing.
        lost: (question, gold) -> the number of gold annotations that `parse` does not read back
            from the target, by reason (`losses.py`). It counts what `score` compares, and only what
            belongs to this question.
        score: (predicted, gold) -> counts of exact matches.
        asks: (document, assignment) -> how many questions there are about a document in one window,
            of a task for which this depends on the document and not only on the options.
        taught: `lessons` of a task that learns from other questions than it asks.
        given: (options) -> whether the task asks about annotations that the input gives: then the
            text of a document does not decide alone what is asked. None for never.
        follows: (options) -> whether the task asks about the mentions that `ner` finds in the same
            run: then its questions come behind those of `ner` (`Assignment.found`). None for never.
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
    lost: Callable[[Question, Annotations], Counter[str]]
    score: Callable[[Annotations, Annotations], Counts]
    asks: Callable[[Document, Assignment], int] | None = None
    taught: (
        Callable[[Document, Assignment, int | None], list[tuple[Question, Annotations]]] | None
    ) = None
    given: Callable[[Any], bool] | None = None
    follows: Callable[[Any], bool] | None = None

    def lessons(
        self, document: Document, assignment: Assignment, limit: int | None = None
    ) -> list[tuple[Question, Annotations]]:
        """The questions on a document that training asks, each with the gold that answers it.

        Args:
            document: the document, with its gold annotations.
            assignment: the task with its options.
            limit: the most characters of a window; None for no limit.

        Raises:
            NotApplicable: the task has nothing to ask about the document.
        """
        if self.taught:
            return self.taught(document, assignment, limit)
        return [(q, document.gold) for q in self.questions(document, assignment, limit)]

    def conversation(self, question: Question, gold: Annotations) -> list[Message]:
        """The chat messages of a question and of the answer that states the gold annotations.

        In a dialogue other messages of the assistant stand before the answer; training learns from
        all of them.
        """
        return [*question.messages, {"role": "assistant", "content": self.answer(question, gold)}]

    def answer(self, question: Question, gold: Annotations) -> str:
        """The answer that states the gold annotations, behind the head of the question.

        Where the question has a head, a target that says only that there is nothing gets it, too.
        """
        target = self.target(question, gold)
        return target if target.startswith(question.given) else question.head + target

    def parse(
        self,
        text: str,
        question: Question,
        document: Document,
        *,
        cut: bool = False,
        scores: Scores | None = None,
    ) -> Parsed:
        """Read an answer without the thoughts that a model may write before it.

        An answer under a grammar holds no thoughts: the grammar does not allow them.

        Args:
            text: the answer.
            question: the question that was asked.
            document: the document that the question is about.
            cut: whether the answer stopped before its end.
            scores: the log-probabilities of the answer's tokens, if the engine gave them.
        """
        if question.grammar is None:
            text, scores = thinking.answer(text, scores)
        return self.read(text, question, document, cut=cut, scores=scores)

    def defaults(self, form: AskingForm) -> dict[str, Any]:
        """Return the options that a model wants where nobody gives others, by name.

        Raises:
            ConfigError: the form has a wrong option; one that a model's folder names is checked.
        """
        wanted: dict[str, Any] = {"wording": form.wording}
        if values := form.tasks.get(self.name):
            options = validated(
                self.options, self.name, values, wordings=self.wordings, origin="tasks", files=False
            )
            wanted |= {name: getattr(options, name) for name in options.model_fields_set}
        return wanted

    @property
    def wordings(self) -> int:
        """The number of wordings that the task has in every language."""
        if not self.template:
            return 1
        return min(len(template.wordings(self.template, language)) for language in LANGUAGES)


@dataclass(frozen=True, slots=True)
class Found:
    """What the questions of `ner` on a document found.

    Attributes:
        types: the names of the types that were asked about.
        mentions: the mentions of all these types, in the order of the text.
    """

    types: frozenset[str]
    mentions: Sequence[Mention]


_Asked = tuple[tuple[Term, ...], str, str | None]
"""What a question asks besides its text: the types, the language, the part."""


def _asked(question: Question) -> _Asked:
    return question.types, question.language, question.part


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task as one run asks it.

    Attributes:
        task: the task.
        options: an instance of the task's class of options.
        grammar: whether answers are constrained to what is in the text (`--grounding grammar`).
        document_first: whether the document stands before the instruction. Then all questions
            on one document share it in the prefix cache. When there is one question on a document,
            the instruction stands first, so that all documents share it.
        headed: whether an answer keeps its head when it says that there is nothing. A model that
            was trained so can be given the head with the question.
        shots: what stands before a question as an earlier conversation: examples that ask the same,
            with their right answers, by what is asked (`with_shots`).
        similar: examples of which those most like the document stand before a question.
        found: what `ner` found in the document before, for a task that `follows` it; None when the
            run does not ask `ner`, or has not asked it yet.
    """

    task: Task
    options: Any
    grammar: bool = True
    document_first: bool = False
    headed: bool = False
    shots: Mapping[_Asked, Sequence[Message]] = field(default_factory=dict, hash=False)
    similar: Similar | None = field(default=None, hash=False)
    found: Found | None = field(default=None, hash=False)

    @property
    def follows(self) -> bool:
        """Whether it asks about the mentions that `ner` finds in the same run."""
        return self.task.follows is not None and self.task.follows(self.options)

    def questions(self, document: Document, limit: int | None = None) -> list[Question]:
        """The task's questions on a document; raises NotApplicable when it has none."""
        languages = self.options.languages
        asked = [q for q in self.task.questions(document, self, limit) if q.language in languages]
        if not asked:
            named = " or ".join(LANGUAGES[language] for language in languages)
            raise NotApplicable(f"no text in {named} (the option languages)")
        shots = self._shots(self.similar.to(document)) if self.similar else self.shots
        if not shots:
            return asked
        return [replace(q, messages=[*shots.get(_asked(q), ()), *q.messages]) for q in asked]

    def with_shots(self, examples: Iterable[Document]) -> Assignment:
        """Return the same with examples before each question (few-shot).

        Args:
            examples: documents with gold; of each, the first window is asked and answered.
        """
        return replace(self, shots=self._shots(examples))

    def with_similar_shots(self, examples: Sequence[Document], number: int) -> Assignment:
        """Return the same with those examples before each question that are most like the document.

        Args:
            examples: documents with gold to choose from; of each, the first window is asked and
                answered.
            number: how many stand before a question.
        """
        return replace(self, similar=Similar(examples, number))

    def _shots(self, examples: Iterable[Document]) -> dict[_Asked, list[Message]]:
        shots: dict[_Asked, list[Message]] = {}
        for example in examples:
            try:
                asked_of = self.task.questions(example, self, None)
            except NotApplicable:
                continue  # it shows nothing of the task
            first = {_asked(question): question for question in reversed(asked_of)}
            for asked, question in first.items():
                shots.setdefault(asked, []).extend(self.task.conversation(question, example.gold))
        return shots

    def in_form(self, form: AskingForm) -> Assignment:
        """Return the same in the form that a model wants; options that were chosen stay.

        Shots are made afterwards.
        """
        wanted = self.task.defaults(form)
        left = {k: v for k, v in wanted.items() if k not in self.options.model_fields_set}
        return replace(
            self,
            options=self.options.model_copy(update=left),
            headed=form.headed if "wording" in left else self.headed,
            document_first=self.document_first or form.document_first,
        )

    def identity(self) -> dict[str, object]:
        """Everything about this task that can change an answer, for the fingerprint."""
        values = {
            "version": self.task.version,
            "templates": {
                language: template.digest(self.task.template, language, self.options.wording)
                for language in LANGUAGES
            },
            **self.options.identity(),
        }
        if self.headed:  # outputs on disk know neither of heads that are given nor of shots
            values["headed"] = True
        if self.shots:
            told = json.dumps([list(messages) for messages in self.shots.values()])
            values["shots"] = hashlib.sha256(told.encode()).hexdigest()[:16]
        if self.similar:
            values["similar"] = self.similar.digest()
        return values

    def ask(
        self,
        language: str,
        window: Window,
        *,
        types: tuple[Term, ...] = (),
        part: str | None = None,
        multi_label: bool = True,
        mentions: tuple[Mention, ...] = (),
        grammar: Callable[[], str] | None = None,
        head: str = "",
        text: str | None = None,
        **values: object,
    ) -> Question:
        """Make a question about a window.

        Args:
            language: the language of the question.
            window: the part of the document that the answer is about.
            types: what the answer may name.
            part: as in `Question`.
            multi_label: as in `Question`.
            mentions: as in `Question`.
            grammar: makes the grammar of the answer; not called when answers are not constrained.
            head: as in `Question`.
            text: what the prompt shows, if that is not the text of the window.
            values: values for the template. It also gets `types`: their labels in the language.
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
            grammar=grammar() if grammar and self.grammar else None,
            head=head,
            part=part,
            multi_label=multi_label,
            mentions=mentions,
        )


# --------------------------------------------------------------------------------------- windows

# A sentence always ends after a Chinese full stop or similar mark. It ends after a Latin mark when
# white space follows, or a Han character (some Chinese journals use the ASCII full stop). It always
# ends at an empty line. It does not end at any other line end: running text goes on there.
_SENTENCE_END = re.compile(rf"[。！？；][”’」』）)]*+|[.!?][\"')\]]*+(?=\s|[{HAN}])|\n[^\S\n]*+\n")


def language_spans(document: Document, language: str, without: Collection[str] = ()) -> list[Span]:
    """The spans of all passages in a language, except passages of the types in `without`.

    Args:
        document: the document.
        language: the language of the passages.
        without: types of passages that are left out.
    """
    return [
        Span(p.offset, p.end)
        for p in document.passages
        if p.language == language and p.type not in without
    ]


def pieces(text: str, span: Span, limit: int) -> list[Span]:
    """Cut a range of a text into pieces of at most `limit` characters.

    A piece ends after the last whole sentence that fits into it. When no sentence fits, it ends
    after the last line end that fits, else after the last blank, else at the limit.

    Args:
        text: the whole text.
        span: the range that is cut.
        limit: the most characters of a piece.
    """
    cut, start = [], span.start
    while span.end > (most := start + limit):
        # Search one character beyond the limit, because that character may decide whether a
        # sentence ends at the limit.
        ends = [m.end() for m in _SENTENCE_END.finditer(text, start, most + 1) if m.end() <= most]
        end = ends[-1] if ends else _end_of(("\n", " "), text, start + 1, most)
        cut.append(Span(start, end))
        start = end
        while start < span.end and text[start].isspace():
            start += 1
    if start < span.end:
        cut.append(Span(start, span.end))
    return cut


def _end_of(signs: Sequence[str], text: str, start: int, most: int) -> int:
    """The end of a piece of text[start:most], by signs that are tried in order.

    The piece ends after the last occurrence of the first sign that occurs at all; at `most` when
    none occurs.
    """
    return next((at + 1 for sign in signs if (at := text.rfind(sign, start, most)) >= 0), most)


def windows(
    document: Document, language: str, limit: int | None, without: Collection[str] = ()
) -> list[Window]:
    """Split the text of one language into windows of at most `limit` characters.

    Without a limit there is at most one window. A window without any letter or digit is left out:
    there is nothing to ask about, and no answer could satisfy a grammar of its mentions.

    Args:
        document: the document.
        language: the language of the windows.
        limit: the most characters of a window; None for no limit.
        without: types of passages that are not shown.
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
    """The windows that a task asks about, each with its language.

    Args:
        document: the document.
        limit: the most characters of a window; None for no limit.
        languages: the languages that the task asks about.
        without: types of passages that are not shown.
        first: whether only the first window of each language is shown.

    Raises:
        NotApplicable: the document has no such text.
    """
    pairs = [
        (language, window)
        for language in languages
        for window in windows(document, language, limit, without)[: 1 if first else None]
    ]
    if not pairs:
        named = " or ".join(LANGUAGES[language] for language in languages)
        besides = f" besides {', '.join(without)}" if without else ""
        raise NotApplicable(f"no text in {named}{besides}")
    return pairs


def locator(question: Question) -> Locator:
    """Return what finds surfaces in the window of a question, and nowhere else in the document.

    Surfaces of a free answer are also searched folded (case, width and the like do not count). A
    grammar makes surfaces exact, so its answers need no folding.
    """
    return Locator(question.window.running, question.language, fold=question.grammar is None)


def finder(question: Question) -> tuple[Callable[[str], tuple[list[Span], Grounded]], items.Stands]:
    """Return a function that finds the spans of a surface, and one that says whether it has any.

    The first keeps its results, so each surface is searched once. Under a grammar the second says
    yes to every surface.
    """
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
    """Make a mention for each span of a surface, or one without offsets when it has no span.

    The text of a mention is the document's own, with the line end that may be in it.

    Args:
        document: the document.
        type_: the type of the mentions.
        surface: the words of the answer.
        spans: where the surface occurs, as document offsets.
        how: how the surface was located.
        score: how sure the model was of the surface, if that is known.
    """
    if not spans:
        return [Mention(0, type_, surface, None, None, grounded="none", score=score)]
    mentions = []
    for span in spans:
        number = document.passage_at(span.start)
        assert number is not None, "a span begins in a passage"
        passage = document.passages[number]
        text = passage.text[span.start - passage.offset : span.end - passage.offset]
        mentions.append(Mention(0, type_, text, span.start, span.end, [], number, how, score))
    return mentions
