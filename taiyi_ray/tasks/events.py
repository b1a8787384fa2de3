"""Event extraction: what happens in the text, the words that say so, and who takes part.

Answer forms are Taiyi's (github.com/DUTIR-BioNLP/Taiyi-LLM, README):

    en    Gene_expression: (Trigger: expression, Theme: IL-2); (Trigger: expressed, Theme: IL-4)
    zh    上述句子中的临床发现事件如下：⏎主体词：咳嗽；发生状态：；描述词：反复，剧烈；解剖部位：

In English each type has one line, and a role with several arguments is named before each of them.
In Chinese each event has one line under the lead-in of its type; a role without an argument stays
empty, and `，` separates several arguments of a role. Taiyi's forms do not say how to write several
events of a type in one line, nor that there is nothing (`none`, `无`): these are ours.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from taiyi_ray import nothing
from taiyi_ray.forms import running
from taiyi_ray.grounding import LONGEST, Slots, events_grammar
from taiyi_ray.records import Annotations, Argument, Document, Event, Grounded, Mention, Span
from taiyi_ray.tasks import items, lines
from taiyi_ray.tasks.options import HEAD, TaskOptions, term_of, terms_of
from taiyi_ray.tasks.scores import Piece, Scores
from taiyi_ray.tasks.task import (
    Assignment,
    Counts,
    Parsed,
    Question,
    Task,
    finder,
    located,
    shown,
)
from taiyi_ray.tasks.vocabulary import Term

TRIGGER = Term("trigger", "Trigger", "触发词")


@dataclass(frozen=True, slots=True)
class EventType(Term):
    """A type of event.

    Attributes:
        roles: the roles that its arguments play.
        trigger: the name of its trigger in prompts and answers; None for events without triggers.
    """

    roles: tuple[Term, ...]
    trigger: Term | None

    @property
    def slots(self) -> tuple[Term, ...]:
        return (self.trigger, *self.roles) if self.trigger else self.roles


def _event_types(value: object) -> tuple[EventType, ...]:
    """Read `Type: [Role, ...]` or `Type: {roles: [...], trigger: ..., en: ..., zh: ...}`."""
    if isinstance(value, tuple) and all(isinstance(v, EventType) for v in value):
        return value
    if not isinstance(value, Mapping) or not value:
        raise ValueError("expected types and their roles, as in {Binding: [Theme, Site]}")
    return tuple(_event_type(name, given) for name, given in value.items())


def _event_type(name: object, given: object) -> EventType:
    values: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"roles": given}
    roles, trigger = values.pop("roles", None), values.pop("trigger", TRIGGER.name)
    if not isinstance(roles, (list, Mapping)):
        raise ValueError(f"{name}: expected roles, as in [Theme, Cause]")
    term = term_of(name, values, HEAD)
    players = terms_of(roles, (), HEAD)
    caller = terms_of([trigger], [TRIGGER], HEAD)[0] if trigger is not None else None
    if not players and caller is None:
        raise ValueError(f"{name}: an event has a trigger, or roles, or both")
    return EventType(term.name, term.en, term.zh, players, caller)


class Options(TaskOptions):
    """The types of events, and who takes part in each."""

    types: Annotated[tuple[EventType, ...], BeforeValidator(_event_types)] = Field(
        description="types of events, each with its roles, or with `roles`, `en`, `zh` and what "
        "its `trigger` is called (null: events have none)"
    )

    @classmethod
    def example(cls) -> str:
        return "{types: {Gene_expression: [Theme], Regulation: [Theme, Cause]}}"


def _heads(types: Iterable[Term], language: str) -> list[str]:
    if language == "zh":
        return [f"上述句子中的{term.zh}事件如下：" for term in types]
    return [term.en + lines.COLON["en"] for term in types]


def _grammar(types: Sequence[EventType], text: str, language: str) -> str:
    slots = [
        Slots(
            t.trigger.label(language) if t.trigger else None,
            tuple(role.label(language) for role in t.roles),
        )
        for t in types
    ]
    return events_grammar(_heads(types, language), slots, lines.NONE[language], text, language)


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each language and window, about all types of events together.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.
    """
    types: tuple[EventType, ...] = assignment.options.types
    return [
        assignment.ask(
            language,
            window,
            types=types,
            grammar=_grammar(types, window.running.text, language),
            events=[(t.label(language), [slot.label(language) for slot in t.slots]) for t in types],
        )
        for language, window in shown(document, limit)
    ]


# ---------------------------------------------------------------------------------------- reading

_OPENING, _CLOSING = "([（【", ")]）】"
_BETWEEN_EVENTS = re.compile(rf"[{re.escape(_CLOSING)}]\s*[;；]\s*[{re.escape(_OPENING)}]")


@dataclass(frozen=True, slots=True)
class _Read:
    """An event as an answer names it.

    Attributes:
        type: the type of the event.
        slots: pieces of the answer, each with the role or trigger that it is, in order.
    """

    type: EventType
    slots: list[tuple[Term, Piece]]


def _slots(
    body: Piece, type_: EventType, language: str, stands: items.Stands
) -> list[tuple[Term, Piece]] | None:
    """Cut an event at the names of its trigger and roles; None when it has no such name.

    Args:
        body: the event in the answer.
        type_: the type of the event.
        language: of the answer.
        stands: says whether a piece is one whole item.
    """
    by_label = {slot.label(language).casefold(): slot for slot in type_.slots}
    names = "|".join(re.escape(label) for label in sorted(by_label, key=len, reverse=True))
    found = list(
        re.finditer(
            rf"(?:^|[,，;；])\s*(?:\*\*)?({names})(?:\*\*)?\s*[:：](?:\*\*)?",
            body.text,
            re.IGNORECASE,
        )
    )
    if not found:
        return None
    ends = [match.start() for match in found[1:]] + [len(body.text)]
    read = []
    for match, end in zip(found, ends, strict=True):
        # re.IGNORECASE may match a name that casefold() does not make equal: it is unknown then.
        slot = by_label.get(match.group(1).casefold())
        value = Piece(body.text[match.end() : end], body.start + match.end())
        parts = value.split("，") if language == "zh" else [value]
        words = [word for part in parts for word in items.listed(part.strip(), stands)]
        if slot and not all(nothing.is_word(word.text) for word in words):
            read += [(slot, word) for word in words]
    return read


def _bodies(text: str, question: Question) -> Iterator[tuple[EventType | None, Piece]]:
    """Yield the events of an answer, each with its type; None stands for an unknown type."""
    types: Sequence[Any] = question.types
    language = question.language
    labels = [type_.label(language) for type_ in types]
    heads = lines.Heads(labels, _heads(types, language))
    only = types[0] if len(types) == 1 else None
    current = only
    for raw in Piece(text, 0).split("\n"):
        line = raw.strip()
        if not line.text or lines.is_fence(line):
            continue
        if head := heads.of(line):
            current, line = types[head[0]], head[1]
            known = True
        else:
            item = items.unlisted(line)
            known = language == "zh" or item is not line or line.text[0] in _OPENING
            line = item
        if not line.text or lines.says_nothing(line.text, labels):
            continue
        type_ = current if known else only
        if language == "zh":
            yield type_, line
            continue
        inner = line.text.rstrip(_CLOSING).lstrip(_OPENING)
        at = line.start + line.text.find(inner)
        for begin, end in _between(inner):
            yield type_, Piece(inner[begin:end], at + begin)


def _between(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for match in _BETWEEN_EVENTS.finditer(text):
        yield begin, match.start()
        begin = match.end()
    yield begin, len(text)


def parse(
    text: str,
    question: Question,
    document: Document,
    *,
    cut: bool = False,
    scores: Scores | None = None,
) -> Parsed:
    """Read the events; their triggers and arguments become mentions.

    A surface may occur often, but an event happens once. So of all occurrences of the trigger, the
    one with the nearest arguments is taken, and the occurrence of each argument nearest to it.

    Args:
        text: the answer.
        question: the question that was asked.
        document: the document that the question is about.
        cut: whether the answer stopped before its end.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """
    if cut:
        text = lines.whole(text, *("\n" if question.language == "zh" else ")）"))
    problem = None if text.strip() else "invalid"
    places = _Places(document, question, scores)
    events: dict[tuple[str, ...], Event] = {}
    for type_, body in _bodies(text, question):
        slots = _slots(body, type_, question.language, places.stands) if type_ else None
        if not type_ or slots is None:
            problem = "invalid"
        if not type_ or not slots:
            continue
        event = places.event(_Read(type_, slots))
        words = [piece.text for _, piece in slots]
        events.setdefault((type_.name, *(slot.name for slot, _ in slots), *words), event)
    for number, event in enumerate(events.values()):
        event.id = number
    annotations = Annotations(mentions=places.mentions, events=list(events.values()))
    if problem is None and any(m.grounded == "none" for m in annotations.mentions):
        problem = "not_in_text"
    return Parsed(annotations, problem)


def _nearest(spans: Sequence[Span], place: int) -> Span:
    """The span that begins nearest to the offset `place`, of spans in the order of the text."""
    at = bisect_left(spans, place, key=lambda span: span.start)
    return min(spans[max(0, at - 1) : at + 1], key=lambda span: abs(span.start - place))


class _Places:
    """Finds the offsets of the words of events, and collects the mentions there."""

    def __init__(self, document: Document, question: Question, scores: Scores | None) -> None:
        self._document, self._scores = document, scores
        self._found, self.stands = finder(question)
        self._ids: dict[tuple[str | None, int | None, str], int] = {}
        self.mentions: list[Mention] = []

    def event(self, read: _Read) -> Event:
        """Make the event, with its mentions at the occurrences nearest to each other."""
        found = {piece.text: self._found(piece.text) for _, piece in read.slots}
        trigger = next((p for slot, p in read.slots if slot is read.type.trigger), None)
        players = [(slot, p) for slot, p in read.slots if slot is not read.type.trigger]
        centre = trigger or players[0][1]
        others = [spans for spans, _ in (found[piece.text] for _, piece in players) if spans]
        places, _ = found[centre.text]
        place = min(
            (span.start for span in places),
            key=lambda at: sum(abs(_nearest(spans, at).start - at) for spans in others),
            default=0,
        )

        def mention(piece: Piece, type_: str | None) -> int:
            spans, how = found[piece.text]
            return self._mention(piece, type_, [_nearest(spans, place)] if spans else [], how)

        return Event(
            0,
            read.type.name,
            mention(trigger, read.type.name) if trigger else None,
            [Argument(slot.name, mention(p, None), p.text) for slot, p in players],
        )

    def _mention(
        self, piece: Piece, type_: str | None, spans: Sequence[Span], how: Grounded
    ) -> int:
        """The id of the mention at these offsets, which is made when there is none yet.

        Args:
            piece: the words of the answer.
            type_: the type of the mention.
            spans: one span of the words, or none when they do not occur.
            how: how the words were located.
        """
        key = (type_, spans[0].start if spans else None, piece.text)
        if key not in self._ids:
            score = self._scores.of(piece) if self._scores else None
            (made,) = located(self._document, type_, piece.text, spans, how, score)
            made.id = self._ids[key] = len(self.mentions)
            self.mentions.append(made)
        return self._ids[key]


# ---------------------------------------------------------------------------------------- writing


def writable(surface: str, language: str) -> bool:
    """Whether the answer form can state the words of an event so that `parse` reads them back."""
    separators = "，；\n" if language == "zh" else ";()[]\n"
    bounded = 0 < len(surface) <= LONGEST and surface == surface.strip()
    return bounded and not any(c in surface for c in separators) and ", " not in surface


def target(question: Question, gold: Annotations) -> str:
    """The answer that names the gold events of the window, in the order of the text.

    An event cannot be written when its trigger holds a separator or is not in the window. Such an
    argument is left out.
    """
    language = question.language
    mentions: dict[int | None, Mention] = {mention.id: mention for mention in gold.mentions}
    blocks = []
    types: Sequence[Any] = question.types
    for head, type_ in zip(_heads(types, language), types, strict=True):
        written = [
            line
            for _, line in sorted(
                (at, line)
                for event in gold.events
                if event.type == type_.name
                for at, line in _written(event, type_, question, mentions)
            )
        ]
        lines_ = list(dict.fromkeys(written))
        if lines_:
            blocks.append(head + ("\n" if language == "zh" else "") + _join(lines_, language))
    return "\n".join(blocks) or lines.NONE[language]


def _join(events: Sequence[str], language: str) -> str:
    return ("\n" if language == "zh" else "; ").join(events)


def _written(
    event: Event, type_: EventType, question: Question, mentions: Mapping[int | None, Mention]
) -> Iterator[tuple[int, str]]:
    """Yield the event as the form writes it, with the offset of its trigger, or 0 without one.

    Nothing is yielded for an event that is not in the window or cannot be written.

    Args:
        event: the event.
        type_: its type.
        question: the question, whose window the event must be in.
        mentions: the gold mentions by their ids.
    """
    language, window = question.language, question.window

    def inside(number: int | None, text: str) -> bool:
        start = mentions[number].start if number in mentions else None
        there = start is None or window.holds(start, start + 1)
        return there and text in window.running.text

    trigger = running(mentions[event.trigger].text) if event.trigger in mentions else ""
    if type_.trigger and not (writable(trigger, language) and inside(event.trigger, trigger)):
        return
    values: dict[str, list[str]] = {role.name: [] for role in type_.roles}
    for a in event.arguments:
        text = running(a.text)
        if a.role in values and writable(text, language) and inside(a.mention, text):
            values[a.role].append(text)
    if not type_.trigger and not any(values.values()):
        return
    slots = [(type_.trigger, [trigger])] if type_.trigger else []
    slots += [(role, list(dict.fromkeys(values[role.name]))) for role in type_.roles]
    if language == "zh":
        line = "；".join(f"{slot.zh}：{'，'.join(words)}" for slot, words in slots)
    else:
        line = ", ".join(f"{slot.en}: {word}" for slot, words in slots for word in words)
        line = f"({line})"
    place = mentions[event.trigger].start if event.trigger in mentions else None
    yield (place if place is not None else 0), line


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of type, words of the trigger, and roles with their words."""
    return Counts.of(list(comparable(predicted)), list(comparable(gold)))


def comparable(annotations: Annotations) -> Iterator[tuple[object, ...]]:
    """The events in words: type, trigger, and the arguments with their roles, in any order."""
    words = {mention.id: running(mention.text) for mention in annotations.mentions}
    for event in annotations.events:
        players = frozenset((a.role, running(a.text)) for a in event.arguments)
        yield event.type, words.get(event.trigger) if event.trigger is not None else None, players


TASK = Task(
    name="ee",
    version=2,
    summary="event extraction: type, trigger and arguments in their roles",
    results="`events`, with their `mentions`",
    template="ee.v1",
    options=Options,
    questions=questions,
    read=parse,
    target=target,
    score=score,
)
