"""What kind of error a wrong annotation is: boundary, wrong type, wrong link, spurious, missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from taiyi_ray.formats.concepts import concepts_of
from taiyi_ray.forms import running
from taiyi_ray.metrics import events, stretch
from taiyi_ray.records import Annotations, Mention

Kind = Literal["right", "boundary", "wrong type", "wrong link", "spurious", "missed"]


class Verdict(NamedTuple):
    """What is to be said of one annotation.

    Attributes:
        kind: the kind of the error, or `right`.
        gold: its type in the gold; None where the gold has no such annotation.
        predicted: the type that was predicted; None where none was.
        what: the mention; the texts of head and tail, or of a trigger and of the arguments; None
            for a label.
    """

    kind: Kind
    gold: str | None
    predicted: str | None
    what: Mention | tuple[str, str] | None = None


def verdicts(predicted: Annotations, gold: Annotations) -> Iterator[Verdict]:
    """Judge all annotations of a document, the predicted ones and those that are missing."""
    yield from _of_mentions(predicted, gold)
    yield from _of_pairs(_relations(predicted), _relations(gold))
    yield from _of_pairs(_events(predicted), _events(gold))
    yield from _of_labels(predicted, gold)


def _of_mentions(predicted: Annotations, gold: Annotations) -> Iterator[Verdict]:
    true = {(m.type, stretch(m)): m for m in gold.mentions if m.type}
    mine = {(m.type, stretch(m)): m for m in predicted.mentions if m.type}
    open_ = {key: mention for key, mention in true.items() if key not in mine}
    met = set()
    for key, mention in mine.items():
        if key in true:
            linked, meant = mention.concept, true[key].concept
            if linked and meant and concepts_of(linked.id).isdisjoint(concepts_of(meant.id)):
                yield Verdict("wrong link", meant.id, linked.id, mention)
            else:
                yield Verdict("right", mention.type, mention.type, mention)
            continue
        near = [(other, m) for other, m in open_.items() if _overlap(mention, m)]
        same = [pair for pair in near if pair[0][1] == key[1]]
        of_type = [pair for pair in near if pair[0][0] == mention.type]
        if best := same or of_type:
            met.add(best[0][0])
            kind: Kind = "wrong type" if same else "boundary"
            yield Verdict(kind, best[0][1].type, mention.type, mention)
        else:
            yield Verdict("spurious", None, mention.type, mention)
    for key, mention in open_.items():
        if key not in met:
            yield Verdict("missed", mention.type, None, mention)


def _overlap(one: Mention, other: Mention) -> bool:
    if one.start is None or one.end is None or other.start is None or other.end is None:
        return False
    return one.start < other.end and other.start < one.end


_Pairs = dict[tuple[str, tuple[str, str]], None]


def _relations(found: Annotations) -> _Pairs:
    return {
        (relation.type, (running(relation.head_text), running(relation.tail_text))): None
        for relation in found.relations
    }


def _events(found: Annotations) -> _Pairs:
    """Events as pairs of the trigger and of all arguments, in words."""
    return {
        (
            type_,
            (trigger or "no trigger", "; ".join(sorted(f"{role}: {text}" for role, text in roles))),
        ): None
        for type_, (trigger, roles) in events(found)
    }


def _of_pairs(mine: _Pairs, true: _Pairs) -> Iterator[Verdict]:
    types = {ends: type_ for type_, ends in true if (type_, ends) not in mine}
    met = set()
    named = {text for _, ends in true for text in ends}
    for type_, ends in mine:
        if (type_, ends) in true:
            yield Verdict("right", type_, type_, ends)
        elif ends in types:
            met.add((types[ends], ends))
            yield Verdict("wrong type", types[ends], type_, ends)
        else:
            linked = named.issuperset(ends)
            yield Verdict("wrong link" if linked else "spurious", None, type_, ends)
    for type_, ends in true:
        if (type_, ends) not in mine and (type_, ends) not in met:
            yield Verdict("missed", type_, None, ends)


def _of_labels(predicted: Annotations, gold: Annotations) -> Iterator[Verdict]:
    mine, true = ({label.label: None for label in of.labels} for of in (predicted, gold))
    if len(mine) == len(true) == 1 and mine != true:
        (gold_label,), (label,) = true, mine
        yield Verdict("wrong type", gold_label, label)
        return
    for label in mine:
        right = label in true
        yield Verdict("right" if right else "spurious", label if right else None, label)
    for label in true:
        if label not in mine:
            yield Verdict("missed", label, None)
