"""Merge what the answers about one document state: each mention, relation, event and label once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from taiyi_ray.forms import running
from taiyi_ray.records import COREFERENCE, Annotations, Concept, Event, Label, Mention, Relation

_Stretch = tuple[int | None, int | None, str]
"""What mentions of one stretch of the text have in common: start, end and text."""
_Ids = dict[_Stretch, dict[str | None, int]]
"""The ids of the merged mentions, by stretch, then by type."""


def _stretch(mention: Mention) -> _Stretch:
    return (mention.start, mention.end, mention.text)


def merge(parts: Sequence[Annotations]) -> Annotations:
    """Join the annotations of answers about one document.

    Equal mentions, relations, events and labels are kept once; all texts are kept. A mention
    without a type comes from a relation or an argument: it is dropped when a mention with a type
    has the same span. A concept goes to the mentions of its span that have the same type, or of any
    type if its own has none. Mentions are numbered in the order of the text.
    """
    mentions = _mentions(parts)
    ids: _Ids = {}
    for mention in mentions:
        ids.setdefault(_stretch(mention), {})[mention.type] = mention.id
    known = [{m.id: (_stretch(m), m.type) for m in part.mentions} for part in parts]
    labels: dict[tuple[str, str], Label] = {}
    for part in parts:
        for label in part.labels:
            labels.setdefault((label.task, label.label), label)
    return Annotations(
        mentions=mentions,
        relations=_relations(parts, known, ids, mentions),
        events=_events(parts, known, ids),
        labels=list(labels.values()),
        texts=[text for part in parts for text in part.texts],
    )


def _mentions(parts: Sequence[Annotations]) -> list[Mention]:
    """The mentions, each once, in the order of the text, with new ids and with their concepts."""
    by_stretch: dict[_Stretch, dict[str | None, Mention]] = {}
    concepts: dict[tuple[_Stretch, str | None], Concept] = {}
    for part in parts:
        for mention in part.mentions:
            by_type = by_stretch.setdefault(_stretch(mention), {})
            if mention.concept:
                concepts.setdefault((_stretch(mention), mention.type), mention.concept)
            if mention.type not in by_type or mention.grounded == "exact":
                by_type[mention.type] = mention
    for by_type in by_stretch.values():
        if len(by_type) > 1:
            by_type.pop(None, None)
    in_order = sorted(
        (mention for by_type in by_stretch.values() for mention in by_type.values()),
        key=lambda m: (m.start is None, m.start or 0, -(m.end or 0), m.type or "", m.text),
    )
    return [
        replace(
            mention,
            id=number,
            concept=mention.concept
            or concepts.get((_stretch(mention), mention.type))
            or concepts.get((_stretch(mention), None)),
        )
        for number, mention in enumerate(in_order)
    ]


_Known = dict[int, tuple[_Stretch, str | None]]
"""The stretch and the type of each mention of one answer, by the id that the mention has there."""


def _relations(
    parts: Sequence[Annotations],
    known: Sequence[_Known],
    ids: _Ids,
    mentions: Sequence[Mention],
) -> list[Relation]:
    """The relations, each once, with the new ids of all mentions of their heads and tails.

    Args:
        parts: the annotations of each answer.
        known: the mentions of each answer by their ids there.
        ids: the ids of the merged mentions.
        mentions: the merged mentions in the order of the text.
    """
    of_surface: dict[str, list[int]] = {}
    for mention in mentions:
        of_surface.setdefault(running(mention.text), []).append(mention.id)
    relations: dict[tuple[object, ...], tuple[Relation, set[int], set[int]]] = {}
    for part, of_part in zip(parts, known, strict=True):
        for relation in part.relations:
            key: tuple[object, ...] = (relation.type, relation.head_text, relation.tail_text)
            if relation.type == COREFERENCE:
                key += tuple(of_part[n][0] for n in (*relation.head, *relation.tail))
            _, head, tail = relations.setdefault(key, (relation, set(), set()))
            head.update(new for old in relation.head for new in ids[of_part[old][0]].values())
            tail.update(new for old in relation.tail for new in ids[of_part[old][0]].values())
    for relation, head, tail in relations.values():
        if relation.type != COREFERENCE:
            head.update(of_surface.get(running(relation.head_text), ()))
            tail.update(of_surface.get(running(relation.tail_text), ()))
    return [
        replace(relation, id=number, head=sorted(head), tail=sorted(tail))
        for number, (relation, head, tail) in enumerate(relations.values())
    ]


def _events(parts: Sequence[Annotations], known: Sequence[_Known], ids: _Ids) -> list[Event]:
    """The events, each once, with the new ids of their triggers and arguments.

    Args:
        parts: the annotations of each answer.
        known: the mentions of each answer by their ids there.
        ids: the ids of the merged mentions.
    """
    events: dict[tuple[object, ...], Event] = {}
    for part, of_part in zip(parts, known, strict=True):
        for event in part.events:
            trigger = _id(event.trigger, of_part, ids)
            arguments = [replace(a, mention=_id(a.mention, of_part, ids)) for a in event.arguments]
            players = frozenset((a.role, a.mention, a.text) for a in arguments)
            events.setdefault(
                (event.type, trigger, players),
                Event(len(events), event.type, trigger, arguments),
            )
    return list(events.values())


def _id(number: int | None, known: _Known, ids: _Ids) -> int | None:
    """The new id of a mention of one answer.

    If the mention was dropped, this is the lowest id of the mentions with the same span.

    Args:
        number: the id in the answer; None for no mention.
        known: the mentions of the answer by their ids there.
        ids: the ids of the merged mentions.
    """
    if number is None:
        return None
    stretch, type_ = known[number]
    by_type = ids[stretch]
    return by_type[type_] if type_ in by_type else min(by_type.values())
