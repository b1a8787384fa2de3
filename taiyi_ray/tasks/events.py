"""Event extraction: what happens in the text, the words that say so, and who takes part.

Answer forms are Taiyi's (github.com/DUTIR-BioNLP/Taiyi-LLM, README):

    en    Gene_expression: (Trigger: expression, Theme: IL-2); (Trigger: expressed, Theme: IL-4)
    zh    上述句子中的临床发现事件如下：⏎主体词：咳嗽；发生状态：；描述词：反复，剧烈；解剖部位：

In English each type has one line, and a role is named before each of its arguments. In Chinese each
event has one line under the lead-in of its type; a role without an argument stays empty, and `，`
separates the arguments of a role. Taiyi's forms do not say how one line holds more than one event,
nor how an answer says that there is none (`none`, `无`): these are ours.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field

from taiyi_ray import nothing
from taiyi_ray.forms import running
from taiyi_ray.grounding import PLAYERS, EventFields, events_grammar
from taiyi_ray.names import AROUND_HEADS
from taiyi_ray.records import Annotations, Argument, Document, Event, Grounded, Mention, Span
from taiyi_ray.tasks import items, lines, losses
from taiyi_ray.tasks.options import TaskOptions, term_of, terms_of
from taiyi_ray.tasks.scores import Piece, Scores
from taiyi_ray.tasks.task import (
    Assignment,
    Counts,
    Parsed,
    Question,
    Task,
    Window,
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
    def fields(self) -> tuple[Term, ...]:
        """The trigger, if there is one, and the roles, in the order of an answer."""
        return (self.trigger, *self.roles) if self.trigger else self.roles


def types_of(value: object) -> tuple[EventType, ...]:
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
    term = term_of(name, values, AROUND_HEADS)
    players = terms_of(roles, (), AROUND_HEADS)
    caller = terms_of([trigger], [TRIGGER], AROUND_HEADS)[0] if trigger is not None else None
    if not players and caller is None:
        raise ValueError(f"{name}: an event has a trigger, or roles, or both")
    return EventType(term.name, term.en, term.zh, players, caller)


class Options(TaskOptions):
    """The types of events, and who takes part in each."""

    types: Annotated[tuple[EventType, ...], BeforeValidator(types_of)] = Field(
        description="the types of events to find: for each a list of its roles, or a mapping with "
        "its `roles`, its labels `en` and `zh`, and the label of its `trigger` (null when events "
        "of this type have no trigger)"
    )

    @classmethod
    def example(cls) -> str:
        return "{types: {Gene_expression: [Theme], Regulation: [Theme, Cause]}}"


def _heads(types: Iterable[Term], language: str) -> list[str]:
    if language == "zh":
        return [f"上述句子中的{term.zh}事件如下：" for term in types]
    return [term.en + lines.COLON["en"] for term in types]


def questions(
    document: Document, assignment: Assignment, limit: int | None = None
) -> list[Question]:
    """Make one question for each language and window, about all types of events together.

    Args:
        document: the document.
        assignment: the task with the options of the run.
        limit: the most characters of a window; None for no limit.
    """
    return [_question(assignment, language, window) for language, window in shown(document, limit)]


def _question(assignment: Assignment, language: str, window: Window) -> Question:
    types: tuple[EventType, ...] = assignment.options.types
    fields = [
        EventFields(
            t.trigger.label(language) if t.trigger else None,
            tuple(role.label(language) for role in t.roles),
        )
        for t in types
    ]
    head, starts, none = lines.beginnings(
        _heads(types, language), language, headed=assignment.headed
    )
    return assignment.ask(
        language,
        window,
        types=types,
        grammar=partial(events_grammar, starts, fields, none, window.running.text, language),
        head=head,
        events=[(t.label(language), [f.label(language) for f in t.fields]) for t in types],
    )


# ---------------------------------------------------------------------------------------- reading

_OPENING, _CLOSING = "([（【", ")]）】"
_BETWEEN_EVENTS = re.compile(rf"[{re.escape(_CLOSING)}]\s*[;；]\s*[{re.escape(_OPENING)}]")


@dataclass(frozen=True, slots=True)
class _StatedEvent:
    """An event as an answer names it.

    Attributes:
        type: the type of the event.
        fields: pieces of the answer, each with the trigger or role that it fills, in order.
    """

    type: EventType
    fields: list[tuple[Term, Piece]]


def _fields(
    body: Piece, type_: EventType, language: str, stands: items.Stands
) -> list[tuple[Term, Piece]] | None:
    """Cut an event at the names of its trigger and roles; None when it has no such name.

    Args:
        body: the event in the answer.
        type_: the type of the event.
        language: of the answer.
        stands: says whether a piece is one whole item.
    """
    by_label = {field.label(language).casefold(): field for field in type_.fields}
    names = "|".join(re.escape(label) for label in sorted(by_label, key=len, reverse=True))
    named = list(
        re.finditer(
            rf"(?:^|[,，;；])\s*(?:\*\*)?({names})(?:\*\*)?\s*[:：](?:\*\*)?",
            body.text,
            re.IGNORECASE,
        )
    )
    if not named:
        return None
    ends = [match.start() for match in named[1:]] + [len(body.text)]
    read = []
    for match, end in zip(named, ends, strict=True):
        # re.IGNORECASE may match a name that casefold() does not make equal: it is unknown then.
        field = by_label.get(match.group(1).casefold())
        value = Piece(body.text[match.end() : end], body.start + match.end())
        parts = value.split("，") if language == "zh" else [value]
        words = [word for part in parts for word in items.listed(part.strip(), stands)]
        if field and not all(nothing.is_word(word.text) for word in words):
            read += [(field, word) for word in words]
    return read


def _read(text: str, question: Question, stands: items.Stands) -> Iterator[_StatedEvent | None]:
    """Yield the events of an answer; None stands for a line that names none of the given types.

    Args:
        text: the answer.
        question: the question that was asked.
        stands: says whether a piece is one whole item.
    """
    for type_, body in _bodies(text, question):
        fields = _fields(body, type_, question.language, stands) if type_ else None
        yield _StatedEvent(type_, fields) if type_ and fields is not None else None


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
    words = _Words(document, question, scores)
    events: dict[tuple[str, ...], Event] = {}
    for read in _read(text, question, words.stands):
        if read is None:
            problem = "invalid"
        elif read.fields:
            names = (field.name for field, _ in read.fields)
            surfaces = (piece.text for _, piece in read.fields)
            events.setdefault((read.type.name, *names, *surfaces), words.event(read))
    for number, event in enumerate(events.values()):
        event.id = number
    annotations = Annotations(mentions=words.mentions, events=list(events.values()))
    if problem is None and any(m.grounded == "none" for m in annotations.mentions):
        problem = "not_in_text"
    return Parsed(annotations, problem)


def _nearest(spans: Sequence[Span], offset: int) -> Span:
    """The span that begins nearest to an offset, of spans in the order of the text."""
    at = bisect_left(spans, offset, key=lambda span: span.start)
    return min(spans[max(0, at - 1) : at + 1], key=lambda span: abs(span.start - offset))


class _Words:
    """Locates the words of events in the window of a question, and collects their mentions.

    Args:
        document: the document.
        question: the question.
        scores: the log-probabilities of the answer's tokens, if the engine gave them.
    """

    def __init__(self, document: Document, question: Question, scores: Scores | None) -> None:
        self._document, self._scores = document, scores
        self._find, self.stands = finder(question)
        self._ids: dict[tuple[str | None, int | None, str], int] = {}
        self.mentions: list[Mention] = []

    def event(self, stated: _StatedEvent) -> Event:
        """Make the event, with its mentions at the occurrences nearest to each other."""
        occurrences = {piece.text: self._find(piece.text) for _, piece in stated.fields}
        trigger = next((p for field, p in stated.fields if field is stated.type.trigger), None)
        players = [(field, p) for field, p in stated.fields if field is not stated.type.trigger]
        centre = trigger or players[0][1]
        others = [spans for spans, _ in (occurrences[p.text] for _, p in players) if spans]
        centre_spans, _ = occurrences[centre.text]
        offset = min(
            (span.start for span in centre_spans),
            key=lambda at: sum(abs(_nearest(spans, at).start - at) for spans in others),
            default=0,
        )

        def mention(piece: Piece, type_: str | None) -> int:
            spans, how = occurrences[piece.text]
            return self._mention(piece, type_, [_nearest(spans, offset)] if spans else [], how)

        return Event(
            0,
            stated.type.name,
            mention(trigger, stated.type.name) if trigger else None,
            [Argument(role.name, mention(p, None), p.text) for role, p in players],
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


def target(question: Question, gold: Annotations) -> str:
    """The answer that names the gold events of the window, in the order of the text.

    An event cannot be written when its trigger holds a separator or is not in the window. An
    argument that cannot be written is left out of its event. `lost` counts both kinds of events.
    """
    writer = _EventWriter(question, gold)
    blocks = []
    types: Sequence[Any] = question.types
    for head, type_ in zip(_heads(types, question.language), types, strict=True):
        if written := losses.written(writer.stated(type_)):
            blocks.append(writer.block(head, written))
    return "\n".join(blocks) or lines.NONE[question.language]


def lost(question: Question, gold: Annotations) -> Counter[str]:
    """Count the gold events that do not come back with all their words, by reason."""
    _, stands = finder(question)
    back: set[Hashable] = set()
    for read in _read(target(question, gold), question, stands):
        if read is not None:
            trigger = next((p.text for field, p in read.fields if field is read.type.trigger), None)
            players = [(f.name, p.text) for f, p in read.fields if f is not read.type.trigger]
            back.add((read.type.name, trigger, frozenset(players)))

    def not_back(item: losses.Stated) -> str | None:
        _, trigger, players = cast(_Key, item.key)
        words = [*([trigger] if trigger else []), *(word for _, word in players)]
        return None if item.key in back else losses.misread(words)

    writer = _EventWriter(question, gold)
    types: Sequence[Any] = question.types
    return losses.count((item for type_ in types for item in writer.stated(type_)), not_back)


_Key = tuple[str, str | None, frozenset[tuple[str, str]]]


class _EventWriter:
    """Writes gold events in the answer form.

    Args:
        question: the question, whose window an event must be in.
        gold: the gold annotations.
    """

    def __init__(self, question: Question, gold: Annotations) -> None:
        self._question, self._gold = question, gold
        self._language, self._window = question.language, question.window
        self._mentions: dict[int | None, Mention] = {m.id: m for m in gold.mentions}
        self._separators = ("，", "；") if self._language == "zh" else (*";()[]", ", ")

    def block(self, head: str, events: Sequence[str]) -> str:
        """The written events of one type, behind the head of the type."""
        if self._language == "zh":
            return "\n".join([head, *events])
        return head + "; ".join(events)

    def stated(self, type_: EventType) -> list[losses.Stated]:
        """The gold events of a type that belong to the question, in the order of the text.

        An event of which the form cannot state an argument has a line without that argument.
        """
        found: list[tuple[int, str, losses.Stated]] = []
        keys = comparable(self._gold)
        for event, key in zip(self._gold.events, keys, strict=True):
            if event.type != type_.name:
                continue
            line = self._line(event, type_)
            mentions = [self._mentions.get(n) for n in (event.trigger, *_ids(event))]
            start = next((m.start for m in mentions if m and m.start is not None), None)
            if line or losses.belongs(self._window, start):
                stated = losses.Stated(key, line, self._unstated(event, type_))
                trigger = self._mentions.get(event.trigger)
                found.append(((trigger.start or 0) if trigger else 0, line, stated))
        found.sort(key=lambda one: one[:2])
        return losses.bounded(self._question, [stated for *_, stated in found])

    def _unstated(self, event: Event, type_: EventType) -> str | None:
        """Why the form cannot state an event with all its words; None if it can."""
        if type_.trigger and event.trigger not in self._mentions:
            return losses.NO_TRIGGER
        if not type_.trigger and event.trigger in self._mentions:
            return losses.TRIGGER
        if not type_.trigger and not event.arguments:
            return losses.NO_WORDS
        if type_.trigger and (reason := self._trigger_fault(event)):
            return reason
        roles = {role.name for role in type_.roles}
        for argument in event.arguments:
            if argument.role not in roles:
                return losses.NOT_ASKED
            if reason := self._argument_fault(argument):
                return reason
        written = self._arguments(event, type_)
        different = {(a.role, running(a.text)) for a in event.arguments}
        return losses.BOUND if len(different) > sum(map(len, written.values())) else None

    def _line(self, event: Event, type_: EventType) -> str:
        """The event as the form writes it; empty if its trigger, or all of it, is unwritable."""
        mention = self._mentions.get(event.trigger) if event.trigger is not None else None
        if type_.trigger and (mention is None or self._trigger_fault(event)):
            return ""
        arguments = self._arguments(event, type_)
        if not type_.trigger and not any(arguments.values()):
            return ""
        fields = []
        if type_.trigger and mention:
            fields.append((type_.trigger, [running(mention.text)]))
        fields += [(role, arguments[role.name]) for role in type_.roles]
        if self._language == "zh":
            return "；".join(f"{field.zh}：{'，'.join(words)}" for field, words in fields)
        named = [f"{field.en}: {word}" for field, words in fields for word in words]
        return f"({', '.join(named)})"

    def _arguments(self, event: Event, type_: EventType) -> dict[str, list[str]]:
        """The words of each role that can be written, each once, as many as the form allows."""
        words: dict[str, dict[str, None]] = {role.name: {} for role in type_.roles}
        for argument in event.arguments:
            if argument.role in words and not self._argument_fault(argument):
                words[argument.role][running(argument.text)] = None
        if self._question.grammar is None:
            return {role: list(texts) for role, texts in words.items()}
        # A Chinese grammar bounds the arguments of each role, an English one those of all roles.
        room, bounded = PLAYERS, {}
        for role, texts in words.items():
            bounded[role] = list(texts)[:room]
            if self._language != "zh":
                room -= len(bounded[role])
        return bounded

    def _trigger_fault(self, event: Event) -> str | None:
        mention = self._mentions[event.trigger]
        return self._fault(running(mention.text), mention)

    def _argument_fault(self, argument: Argument) -> str | None:
        if argument.mention is None and not argument.text:
            return losses.EVENT
        return self._fault(running(argument.text), self._mentions.get(argument.mention))

    def _fault(self, words: str, mention: Mention | None) -> str | None:
        """Why the form cannot state words, or the window does not hold them and their mention."""
        if reason := losses.unwritable(words, self._separators):
            return reason
        start = mention.start if mention else None
        if start is not None and not self._window.holds(start, start + 1):
            return losses.OUTSIDE
        return losses.absent(words, self._window, [mention] if mention else [])


def _ids(event: Event) -> list[int | None]:
    return [argument.mention for argument in event.arguments]


def score(predicted: Annotations, gold: Annotations) -> Counts:
    """Exact match of type, words of the trigger, and roles with their words."""
    return Counts.of(comparable(predicted), comparable(gold))


def comparable(annotations: Annotations) -> Iterator[_Key]:
    """The events in words: type, trigger, and the arguments with their roles, in any order."""
    words = {mention.id: running(mention.text) for mention in annotations.mentions}
    for event in annotations.events:
        players = frozenset((a.role, running(a.text)) for a in event.arguments)
        yield event.type, words.get(event.trigger) if event.trigger is not None else None, players


TASK = Task(
    name="ee",
    version=2,
    summary="event extraction: events of the given types, with triggers and arguments",
    results="`events`, with their `mentions`",
    template="ee.v1",
    options=Options,
    questions=questions,
    read=parse,
    target=target,
    lost=lost,
    score=score,
)
