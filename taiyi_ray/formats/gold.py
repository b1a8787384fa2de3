"""Gold: the annotations that a source has, translated to this program's offsets and checked.

Sources count in different ways: from the beginning of a passage, in bytes, with an end that is the
last character, or wrong by a few characters. A mention is first compared with the text at the
offsets that its source states, then at those that other known conventions give. A mention whose
text stands at none of them is kept without offsets. No fault here makes a document fail. Faults are
recorded in the document's `errors`, one entry for each kind:

    gold_moved        mentions whose offsets follow another convention than the format's
    gold_offsets      mentions that were not located, and are kept without offsets
    gold_repeated_id  ids that more than one mention has: a reference means the first one
    gold_reference    references to annotations that do not exist; they are left out
    gold_left_out     things that the records of this program cannot hold
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from taiyi_ray.formats.concepts import ByConcept
from taiyi_ray.formats.format import MAX_RECORD_BYTES
from taiyi_ray.forms import Folded
from taiyi_ray.records import (
    Argument,
    Concept,
    Document,
    Event,
    Failure,
    Grounded,
    Mention,
    Relation,
    Span,
)

_NUMBER = re.compile(r"[A-Za-z]*([0-9]{1,9})")
_WHOLE = re.compile(r"\s*([0-9]{1,10})(?:\.0+)?\s*")

# The roles of head and tail. Of numbered roles (`Arg1`, `Arg2`), the lower number is the head.
_NUMBERED = re.compile("([^0-9]*)([0-9]{1,9})")
_ENDS = frozenset({("head", "tail"), ("subject", "object"), ("source", "target")})

_MOST_UNSAID = MAX_RECORD_BYTES
"""The most characters of all mentions together whose text the source does not state: otherwise many
mentions could each span the whole text."""

_FAR = 8
"""The most characters by which stated offsets may be wrong."""
_WIDEST = 16
"""The ratio of lengths above which two texts are not compared: no folding makes them equal."""
_LINE_ENDS = re.compile("[\n\r]+")

_MOST_ENDS = 1 << 20
"""The most mentions at the ends of all relations of concepts in a document. Each end names all
mentions of a concept, so that a small file could fill the memory."""

Ranges = Sequence[tuple[int, int]]


def whole(value: object) -> int | None:
    """Return a source's value as a whole number, if it is a number or digits; else None."""
    if isinstance(value, str):
        match = _WHOLE.fullmatch(value)
        value = int(match[1]) if match else None
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 1 << 31 else None


def said(value: object) -> str:
    """Describe, for a message, a value of a source that should be a number and is none."""
    if value is None or isinstance(value, str | float):
        return "nothing" if value in (None, "") else f"{value!r:.40}"
    return str(value) if isinstance(value, int) and abs(value) < 1 << 63 else "no number"


def placed(stated: Iterable[tuple[object, object]]) -> tuple[list[tuple[int, int]], str]:
    """Convert the (start, end) pairs of a source to ranges.

    Returns:
        The ranges and an empty text; or no ranges and a description of the first pair that is not
        two whole numbers.
    """
    ranges: list[tuple[int, int]] = []
    for one, other in stated:
        start, end = whole(one), whole(other)
        if start is None or end is None:
            return [], f"{said(one)} to {said(other)}"
        ranges.append((start, end))
    return ranges, ""


def in_order(one: tuple[str, str], other: tuple[str, str]) -> tuple[str, str]:
    """Return the keys of head and tail of two (role, key), ordered by role, else as given."""
    return (other[1], one[1]) if _is_second(one[0], other[0]) else (one[1], other[1])


def _is_second(role: str, other: str) -> bool:
    """Tell whether `role` is the one of the tail and `other` the one of the head."""
    first, second = (_NUMBERED.fullmatch(name.lower()) for name in (other, role))
    if first and second and first[1] == second[1]:
        return int(first[2]) < int(second[2])
    return (other.lower(), role.lower()) in _ENDS


@dataclass(frozen=True, slots=True)
class _Link:
    """A relation as the source states it.

    Attributes:
        key: its id in the source.
        type: its type.
        ends: for head and tail, the ids of the annotations or, with `concepts`, of the concept.
        texts: the surfaces of head and tail, where the source states them.
        score: the confidence, if known.
        concepts: whether `ends` names concepts.
        types: the types of the mentions at head and tail, where the source states them.
    """

    key: str
    type: str
    ends: tuple[Sequence[str], Sequence[str]]
    texts: tuple[str | None, str | None]
    score: float | None
    concepts: bool
    types: tuple[str | None, str | None] = (None, None)


@dataclass(frozen=True, slots=True)
class _Happening:
    """An event as the source states it.

    Attributes:
        key: its id in the source.
        type: its type.
        trigger: the id of its trigger's annotation; None without one.
        arguments: (role, id of an annotation or event, text) of each participant.
    """

    key: str
    type: str
    trigger: str | None
    arguments: Sequence[tuple[str, str | None, str]]


class Gold:
    """Collects the annotations of one document, in any order; `settle` adds them to the document.

    Args:
        document: the document, with its passages.
        bases: the offset that the source gives to the first character of each passage.
    """

    def __init__(self, document: Document, bases: Sequence[int]) -> None:
        self._document = document
        self._text = document.text
        self._bases = list(bases)
        # Bases need not ascend. An offset belongs to the last passage whose base is not above it.
        self._ordered = sorted((base, number) for number, base in enumerate(bases))
        self._last = list(accumulate((number for _, number in self._ordered), max))
        self._counted: dict[int | None, list[array[int]]] = {}
        self._mentions: list[tuple[str, Mention]] = []
        self._links: list[_Link] = []
        self._happenings: list[_Happening] = []
        self._moved: list[str] = []
        self._lost: list[str] = []
        self._missing: list[str] = []
        self._left_out: Counter[str] = Counter()
        self._ends = 0
        self._unsaid = 0

    # -------------------------------------------------------------------------------- collecting

    def mention(
        self,
        key: str,
        type_: str | None,
        text: str | None,
        ranges: Ranges,
        *,
        misplaced: str = "",
        home: int | None = None,
        concept: Concept | None = None,
        score: float | None = None,
        grounded: Grounded = "exact",
    ) -> None:
        """Add a mention.

        Args:
            key: its id in the source, which relations and events refer to.
            type_: its type; None without one.
            text: its text in the source; None where the source does not state it.
            ranges: half-open ranges in the source's own offsets: one for each part of the mention,
                none for a mention that was never located.
            misplaced: a description of offsets that are no range; `ranges` is empty then.
            home: the index of the passage that lists the mention.
            concept: what it was normalised to.
            score: the confidence of its annotator.
            grounded: how it was matched, as the source states.
        """
        if text is None and not ranges:
            self.leave_out("annotations without text and offsets")
            return
        if text is None:
            self._unsaid += sum(max(0, min(end, len(self._text)) - start) for start, end in ranges)
            if self._unsaid > _MOST_UNSAID:
                self.leave_out("annotations without text that are too long together")
                return
        spans, how = self._located(text, ranges, home) if ranges else ([], "none")
        mention = Mention(0, type_, text or "", None, None, score=score, concept=concept)
        mention.grounded = "folded" if spans and grounded == "folded" else how
        if spans:
            mention.text = " ".join(self._text[span.start : span.end] for span in spans)
            mention.start = min(span.start for span in spans)
            mention.end = max(span.end for span in spans)
            mention.spans = spans if len(spans) > 1 else []
            mention.passage = self._document.passage_at(mention.start)
        elif ranges or misplaced:
            self._lost.append(f"{text or ''!r} at {misplaced or _shown(ranges):.100}")
        self._mentions.append((key, mention))

    def relation(
        self,
        key: str,
        type_: str,
        head: Sequence[str],
        tail: Sequence[str],
        texts: tuple[str | None, str | None] = (None, None),
        score: float | None = None,
    ) -> None:
        """Add a relation between annotations.

        Args:
            key: its id in the source.
            type_: its type.
            head, tail: the ids of the annotations at each end.
            texts: the surfaces of head and tail; None for the text of the first annotation there.
            score: the confidence of its annotator.
        """
        self._links.append(_Link(key, type_, (head, tail), texts, score, concepts=False))

    def relation_of_concepts(
        self,
        key: str,
        type_: str,
        head: str,
        tail: str,
        types: tuple[str | None, str | None] = (None, None),
        score: float | None = None,
    ) -> None:
        """Add a relation between two concepts; its ends are all mentions of each concept.

        Args:
            key: its id in the source.
            type_: its type.
            head, tail: the identifiers of the concepts.
            types: the types of the mentions at each end, where the source states them.
            score: the confidence of its annotator.
        """
        ends = ([head], [tail])
        self._links.append(_Link(key, type_, ends, (head, tail), score, True, types))

    def event(
        self,
        key: str,
        type_: str,
        trigger: str | None,
        arguments: Sequence[tuple[str, str | None, str]],
    ) -> None:
        """Add an event.

        Args:
            key: its id in the source.
            type_: its type.
            trigger: the id of its trigger's annotation; None without one.
            arguments: (role, id, text) of each participant: the id is of an annotation or an event,
                None for a participant that only has a text; an empty text is the annotation's.
        """
        self._happenings.append(_Happening(key, type_, trigger, arguments))

    def leave_out(self, what: str) -> None:
        """Count a thing that the records cannot hold; `what` is its description in the plural."""
        self._left_out[what] += 1

    # -------------------------------------------------------------------------------- locating

    def _located(
        self, text: str | None, ranges: Ranges, home: int | None
    ) -> tuple[list[Span], Grounded]:
        """Locate a mention; return its spans, or none, and how its text matches there."""
        if text is None:
            stated = self._stated(ranges)
            return (_spans(stated), "exact") if self._inside(stated) else ([], "none")
        ways: tuple[tuple[Grounded, Callable[[str], str]], ...]
        ways = (("exact", _in_a_line), ("folded", _folded))
        for how, form in ways:
            wanted = form(text)
            for number, tried in enumerate(self._candidates(text, ranges, home)):
                if wanted and self._fits(tried, text) and form(self._surface(tried)) == wanted:
                    if number:
                        self._moved.append(f"{text!r} at {_shown(ranges)}")
                    return _spans(tried), how
        return [], "none"

    def _candidates(self, text: str, ranges: Ranges, home: int | None) -> Iterator[Ranges]:
        """Yield the ranges to try: by the format's convention first, then by other conventions."""
        stated = self._stated(ranges)
        yield stated
        if home is not None:
            offset = self._document.passages[home].offset
            yield [(offset + start, offset + end) for start, end in ranges]  # counted in a passage
        yield [(start, end + 1) for start, end in stated]  # the end is the last character
        if len(stated) == 1:  # only one end is right, or the stated text has blanks around it
            ((start, end),) = stated
            length = len(text.rstrip())
            yield [(start, start + length)]
            yield [(end - length, end)]
            yield from self._near(text, start)
        else:
            for shift in (-1, 1):
                yield [(start + shift, end + shift) for start, end in stated]
        for base, offset, counted in self._other_counts(home):
            offsets = [
                (_position(counted, start - base), _position(counted, end - base))
                for start, end in ranges
            ]
            if all(start is not None and end is not None for start, end in offsets):
                yield [(offset + (start or 0), offset + (end or 0)) for start, end in offsets]

    def _near(self, text: str, start: int) -> Iterator[Ranges]:
        """Yield the ranges near `start` where the same text stands, the nearest first.

        A difference of one is a way to count. Larger differences in real files come from texts that
        gained or lost characters after they were annotated (tmVar3, NLM-Gene).
        """
        for shift in sorted(range(-_FAR, _FAR + 1), key=abs):
            if shift and self._text.startswith(text, max(0, start + shift)):
                yield [(start + shift, start + shift + len(text))]

    def _stated(self, ranges: Ranges) -> Ranges:
        """Translate ranges to this program's offsets; the passage of a start decides on its end."""
        translated = []
        for start, end in ranges:
            number = bisect_right(self._ordered, start, key=lambda pair: pair[0]) - 1
            at = self._last[number] if number >= 0 else 0
            shift = self._document.passages[at].offset - self._bases[at] if self._bases else 0
            translated.append((start + shift, end + shift))
        return translated

    def _other_counts(self, home: int | None) -> Iterator[tuple[int, int, array[int]]]:
        """Yield other ways to count, in the passage and in the whole text: (base, offset, counts).

        `base` is what the source gives to the first character, `offset` its offset here.
        """
        if home is not None:
            passage = self._document.passages[home]
            for counted in self._counts_of(home, passage.text):
                yield self._bases[home], passage.offset, counted
        if self._bases:
            for counted in self._counts_of(None, self._text):
                yield self._bases[0], 0, counted

    def _counts_of(self, passage: int | None, text: str) -> list[array[int]]:
        """The ways to count in a passage, or in the whole text (None); each is computed once."""
        if passage not in self._counted:
            self._counted[passage] = list(_counts(text))
        return self._counted[passage]

    def _inside(self, ranges: Ranges) -> bool:
        return all(0 <= start < end <= len(self._text) for start, end in ranges)

    def _fits(self, ranges: Ranges, text: str) -> bool:
        """Whether the ranges are inside the text, and not too long to be compared with `text`."""
        size = sum(end - start for start, end in ranges)
        return self._inside(ranges) and size <= _WIDEST * (len(text) + _WIDEST)

    def _surface(self, ranges: Ranges) -> str:
        return " ".join(self._text[start:end] for start, end in ranges)

    # --------------------------------------------------------------------------------- settling

    def settle(self) -> None:
        """Add the annotations to the document's gold, with ids instead of the source's keys."""
        keys = [key for key, _ in self._mentions]
        for number, (_, mention) in zip(_numbers(keys), self._mentions, strict=True):
            mention.id = number
        gold = self._document.gold
        gold.mentions += [mention for _, mention in self._mentions]
        gold.relations += self._relations()
        gold.events += self._events()
        for listed in (gold.mentions, gold.relations, gold.events):
            listed.sort(key=lambda one: one.id)
        self._tell([key for key, times in Counter(keys).items() if times > 1])

    def _relations(self) -> Iterator[Relation]:
        """Yield the relations whose two ends have a surface."""
        numbers = _numbers([link.key for link in self._links])
        for number, link in zip(numbers, self._links, strict=True):
            (head, head_text), (tail, tail_text) = (self._end(link, side) for side in (0, 1))
            if head_text and tail_text:
                yield Relation(number, link.type, head_text, tail_text, head, tail, link.score)

    def _end(self, link: _Link, side: int) -> tuple[list[int], str]:
        """The mentions at one end of a relation, and its surface."""
        keys, text = link.ends[side], link.texts[side]
        if link.concepts:
            mentions = self._of_concept(keys[0], link.types[side])
        else:
            mentions = [mention for key in keys if (mention := self._referred(key))]
        if mentions and (link.concepts or text is None):
            text = mentions[0].text
        return [mention.id for mention in mentions], text or ""

    def _events(self) -> Iterator[Event]:
        numbers = _numbers([event.key for event in self._happenings])
        for number, event in zip(numbers, self._happenings, strict=True):
            trigger = self._of_key.get(event.trigger) if event.trigger is not None else None
            if event.trigger is not None and trigger is None:
                self._missing.append(event.trigger)
            arguments = [a for one in event.arguments if (a := self._argument(*one))]
            yield Event(number, event.type, trigger.id if trigger else None, arguments)

    def _argument(self, role: str, key: str | None, text: str) -> Argument | None:
        """A participant of an event; None when its id is not that of any annotation or event.

        Args:
            role: the role that it plays.
            key: the id of its annotation or event; None for a participant that only has a text.
            text: its text; empty for the text of its annotation.
        """
        if key is None:
            return Argument(role, None, text)
        if mention := self._referred(key):
            return Argument(role, mention.id, text or mention.text)
        event = self._happening_of_key.get(key)
        return Argument(role, None, text or event.type) if event else None

    def _referred(self, key: str) -> Mention | None:
        """The mention that an id means: its own, or the trigger of the event with this id."""
        event = self._happening_of_key.get(key)
        mention = self._of_key.get(key)
        if mention is None and event is None:
            self._missing.append(key)
        if mention is None and event is not None:
            mention = self._of_key.get(event.trigger or "")
        return mention

    @cached_property
    def _of_key(self) -> dict[str, Mention]:
        """The mentions by their keys; the first one counts when more than one has the same key."""
        return dict(reversed(self._mentions))

    @cached_property
    def _happening_of_key(self) -> dict[str, _Happening]:
        """The events by their keys; the first one counts when more than one has the same key."""
        return {event.key: event for event in reversed(self._happenings)}

    def _of_concept(self, identifier: str, type_: str | None) -> list[Mention]:
        """The mentions that an identifier names; none once _MOST_ENDS of the document is exceeded.

        A gene and a species may have the same number: `type_` tells them apart.
        """
        if self._ends > _MOST_ENDS:
            self.leave_out("ends of relations that have too many mentions")
            return []
        mentions = self._by_concept.named(identifier)
        self._ends += len(mentions)
        if not mentions:
            self._missing.append(identifier)
        wanted = (type_ or "").lower()
        return [m for m in mentions if (m.type or "").lower() == wanted] or mentions

    @cached_property
    def _by_concept(self) -> ByConcept:
        return ByConcept(mention for _, mention in self._mentions)

    def _tell(self, repeated: Sequence[str]) -> None:
        where = self._document.document_id or ""
        total = len(self._mentions)
        told = {
            "gold_moved": (
                self._moved,
                f"of {total} annotations have offsets that follow another way to count",
            ),
            "gold_offsets": (self._lost, f"of {total} annotations are not at their offsets"),
            "gold_repeated_id": (repeated, "ids belong to more than one annotation"),
            "gold_reference": (self._missing, "references name annotations that do not exist"),
        }
        errors = self._document.errors
        for kind, (cases, words) in told.items():
            if cases:
                errors.append(Failure(kind, where, f"{len(cases)} {words}, as in {cases[0]}"))
        if self._left_out:
            message = "; ".join(f"{count} {what}" for what, count in self._left_out.items())
            errors.append(Failure("gold_left_out", where, message))


def _counts(text: str) -> Iterator[array[int]]:
    """Yield the ways to count that differ from code points in this text.

    Each is an array with the count before each character, and at the end of the text: in bytes of
    UTF-8, in units of UTF-16, or with two characters for a line end.
    """
    ways = []
    if not text.isascii():
        ways.append([len(character.encode("utf-8")) for character in text])
        ways.append([2 if character > "\uffff" else 1 for character in text])
    if "\n" in text:
        ways.append([2 if character == "\n" else 1 for character in text])  # CR and LF
    for widths in ways:
        if max(widths) > 1:
            yield array("l", accumulate(widths, initial=0))


def _position(counted: array[int], count: int) -> int | None:
    """The offset that has this count; None for a count inside a character or outside the text."""
    at = bisect_left(counted, count)
    return at if at < len(counted) and counted[at] == count else None


def _numbers(keys: Sequence[str]) -> list[int]:
    """The numbers in these ids if they are all there and differ, else 0, 1, 2 ..."""
    matches = [_NUMBER.fullmatch(key) for key in keys]
    numbers = [int(match[1]) for match in matches if match]
    return numbers if len(set(numbers)) == len(keys) else list(range(len(keys)))


def _spans(ranges: Ranges) -> list[Span]:
    return [Span(start, end) for start, end in ranges]


def _in_a_line(text: str) -> str:
    """A text as formats made of lines write it: a blank for each run of line ends."""
    return _LINE_ENDS.sub(" ", text)


def _folded(text: str) -> str:
    return Folded(" ".join(text.split()), "en").text.strip()


def _shown(ranges: Ranges) -> str:
    return ";".join(f"{start}-{end}" for start, end in ranges)
