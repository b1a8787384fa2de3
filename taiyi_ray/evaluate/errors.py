"""What kind of error a wrong annotation is: boundary, wrong type, wrong link, spurious, missed.

What is judged are the items of a metric, so that the kinds add up to what the metric counts: right
ones are its true positives.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Literal, NamedTuple

from taiyi_ray.forms import running
from taiyi_ray.metrics import LINK, Item, Items, Link, Metric, Stated, stretch
from taiyi_ray.records import Annotations, Event, Label, Mention, Relation

Kind = Literal["right", "boundary", "wrong type", "wrong link", "spurious", "missed"]


class Verdict(NamedTuple):
    """What is to be said of one item.

    Attributes:
        kind: the kind of the error, or `right`.
        gold: its type in the gold, of a wrong link its concept; None where the gold has no such
            item.
        predicted: the type or concept that was predicted; None where none was.
        what: the mention; the texts of head and tail, or of a trigger and of the arguments; or the
            label.
    """

    kind: Kind
    gold: str | None
    predicted: str | None
    what: Mention | tuple[str, str] | Label


def verdicts(metric: Metric, predicted: Annotations, gold: Annotations) -> Iterator[Verdict]:
    """Judge all items that a metric counts in a document, predicted ones and missing ones.

    Args:
        metric: the metric; one that counts nothing judges nothing.
        predicted: what was predicted.
        gold: the gold.
    """
    mine, true = metric.items(predicted, gold)
    yield from _of_mentions(mine, true)
    yield from _of_pairs(mine, true)
    yield from _of_labels(mine, true)


def _of_mentions(mine: Items, true: Items) -> Iterator[Verdict]:
    open_ = _mentions(item for item in true.items() if item[0] not in mine)
    met = set()
    for item, mention in _mentions(mine.items()).items():
        type_ = mention.type or LINK
        if item in true:
            yield Verdict("right", type_, type_, mention)
            continue
        near = [(other, m) for other, m in open_.items() if _overlap(mention, m)]
        same = [pair for pair in near if stretch(pair[1]) == stretch(mention)]
        alike = [pair for pair in near if _named(pair[0]) == _named(item)]
        if best := same or alike:
            other, meant = best[0]
            met.add(other)
            if not same:
                yield Verdict("boundary", meant.type or LINK, type_, mention)
            else:
                kind: Kind = "wrong link" if isinstance(item[1], Link) else "wrong type"
                yield Verdict(kind, _named(other), _named(item), mention)
        else:
            yield Verdict("spurious", None, type_, mention)
    for item, mention in open_.items():
        if item not in met:
            yield Verdict("missed", mention.type or LINK, None, mention)


def _mentions(stated: Iterable[tuple[Item, Stated]]) -> dict[Item, Mention]:
    return {item: by for item, (by, _) in stated if isinstance(by, Mention)}


def _named(item: Item) -> str:
    """What an item says that a stretch is: of a link its concept, else a type."""
    type_, key = item
    return key.concept if isinstance(key, Link) else type_


def _overlap(one: Mention, other: Mention) -> bool:
    if one.start is None or one.end is None or other.start is None or other.end is None:
        return False
    return one.start < other.end and other.start < one.end


_Pair = tuple[str, tuple[Hashable, ...]]
"""An item of a relation or an event: its type, and what it is between."""


def _of_pairs(mine: Items, true: Items) -> Iterator[Verdict]:
    """Judge relations and events; an event is between its trigger and its arguments."""
    found, wanted = _pairs(mine), _pairs(true)
    types = {ends: type_ for type_, ends in wanted if (type_, ends) not in found}
    met = set()
    named = {end for _, ends in wanted for end in ends}
    for (type_, ends), words in found.items():
        if (type_, ends) in wanted:
            yield Verdict("right", type_, type_, words)
        elif ends in types:
            met.add((types[ends], ends))
            yield Verdict("wrong type", types[ends], type_, words)
        else:
            linked = named.issuperset(ends)
            yield Verdict("wrong link" if linked else "spurious", None, type_, words)
    for pair, words in wanted.items():
        if pair not in found and pair not in met:
            yield Verdict("missed", pair[0], None, words)


def _pairs(items: Items) -> dict[_Pair, tuple[str, str]]:
    """Relations and events with the words in which they are shown."""
    found: dict[_Pair, tuple[str, str]] = {}
    for (type_, ends), (by, _) in items.items():
        if isinstance(ends, tuple) and isinstance(by, Relation):
            found[type_, ends] = (running(by.head_text), running(by.tail_text))
        elif isinstance(ends, tuple) and isinstance(by, Event):
            roles = sorted({f"{argument.role}: {argument.text}" for argument in by.arguments})
            found[type_, ends] = (ends[0] or "no trigger", "; ".join(roles))
    return found


def _of_labels(mine: Items, true: Items) -> Iterator[Verdict]:
    """Judge labels, those of each question by themselves."""
    mine_of, true_of = (_by_question(items) for items in (mine, true))
    for question in dict.fromkeys([*mine_of, *true_of]):
        given, wanted = mine_of.get(question, {}), true_of.get(question, {})
        if len(given) == len(wanted) == 1 and given.keys() != wanted.keys():
            (gold,), ((name, label),) = wanted, given.items()
            yield Verdict("wrong type", gold, name, label)
            continue
        for name, label in given.items():
            right = name in wanted
            yield Verdict("right" if right else "spurious", name if right else None, name, label)
        for name, label in wanted.items():
            if name not in given:
                yield Verdict("missed", name, None, label)


def _by_question(items: Items) -> dict[str, dict[str, Label]]:
    found: dict[str, dict[str, Label]] = {}
    for by, _ in items.values():
        if isinstance(by, Label):
            found.setdefault(by.task, {})[by.label] = by
    return found
