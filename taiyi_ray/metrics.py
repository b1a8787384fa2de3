"""How well annotations agree with gold: sums a document, the metrics made of them, intervals.

A document adds a row of sums to a metric, for each type. Sums of documents are added, and a metric
is a function of the added sums: so the order of documents and how they are cut into units do not
matter, and documents can be drawn again (bootstrap) without reading them again.

    strict_f1     mentions with the same type and the same offsets
    string_f1     the paper's kind: sets of exact strings a document, of mentions or of pairs
    concept_f1    pairs of concepts, as the BioCreative V CDR task counts them; gold mentions say
                  which concept a text stands for
    linked_f1     the same, but the predicted mentions say it
    link_f1       mentions with the same offsets and concept (normalisation)
    event_f1      events with the same type, trigger and arguments, by their strings
    micro_f1      labels
    accuracy      the share of gold labels that were given, with no other for the question
    bleu          word n-grams of texts, as sacrebleu counts them; of characters, into Chinese
    chrf          character n-grams of texts, as sacrebleu counts them by default
    rouge_1, rouge_2, rouge_l   words of texts, as rouge-score counts them; Chinese characters
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from sacrebleu.metrics.bleu import BLEU

from taiyi_ray.formats.concepts import concepts_of
from taiyi_ray.forms import HAN, running
from taiyi_ray.records import Annotations, Event, Label, Mention, Relation
from taiyi_ray.tasks.task import Counts

Array = NDArray[np.float64]
Sums = tuple[float, ...]
Item = tuple[str, Hashable]
"""What is compared: a type, and what must be equal besides."""
Annotation = Mention | Relation | Event | Label

LINK = "concept"
"""The type of all items that are links of mentions to concepts."""


class Link(NamedTuple):
    """What must be equal of a link: where the mention stands, and the concept."""

    place: Hashable
    concept: str


SAMPLES = 1000
"""How often the documents are drawn again for an interval."""

_DRAWN_AT_ONCE = 50

# ------------------------------------------------------------------- precision, recall and F1


class Quality(NamedTuple):
    """Precision, recall and F1 in percent. A share of nothing is 0, as in scikit-learn."""

    precision: float
    recall: float
    f1: float

    @classmethod
    def of(cls, counts: Counts) -> Quality:
        """The values of micro counts."""
        sums = np.array([counts.tp, counts.fp, counts.fn], float)
        return cls(float(precision(sums)), float(recall(sums)), float(f1(sums)))


def _percent(part: Array, whole: Array) -> Array:
    return np.divide(100 * part, whole, out=np.zeros_like(part), where=whole > 0)


def precision(sums: Array) -> Array:
    """Precision in percent of sums whose last axis is true and false positives, false negatives."""
    return _percent(sums[..., 0], sums[..., 0] + sums[..., 1])


def recall(sums: Array) -> Array:
    """Recall in percent of sums whose last axis is true and false positives, false negatives."""
    return _percent(sums[..., 0], sums[..., 0] + sums[..., 2])


def f1(sums: Array) -> Array:
    """F1 in percent of sums whose last axis is true and false positives, false negatives."""
    return _percent(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


def _mean(sums: Array) -> Array:
    return _percent(sums[..., 0], sums[..., 1])


# ------------------------------------------------------------------------- what must be equal


class Stated(NamedTuple):
    """What states an item: an annotation, and how sure the model was of the item."""

    by: Annotation
    score: float | None


Items = dict[Item, Stated]
"""The items of annotations. One that several state is by the one that the model was surest of: it
is there as long as that one is, whatever scores are too low to count."""


def _items(stated: Iterable[tuple[Item, Annotation, float | None]]) -> Items:
    found: Items = {}
    for item, by, score in stated:
        if item not in found or (score or 0.0) > (found[item].score or 0.0):
            found[item] = Stated(by, score)
    return found


def strict_mentions(found: Annotations) -> Items:
    """Mentions by type and offsets."""
    return _items(((m.type, stretch(m)), m, m.score) for m in found.mentions if m.type is not None)


def stretch(mention: Mention) -> Hashable:
    """Where a mention stands: the offsets of all its parts; its text if it was not located."""
    if mention.start is None:
        return mention.text
    parts = [(span.start, span.end) for span in mention.spans]
    return tuple(sorted(parts)) or ((mention.start, mention.end),)


def string_mentions(found: Annotations) -> Items:
    """Mentions by type and text, each text once a document."""
    typed = (m for m in found.mentions if m.type is not None)
    return _items(((m.type or "", running(m.text)), m, m.score) for m in typed)


def string_relations(found: Annotations) -> Items:
    """Relations by type and the texts of head and tail."""
    return _items(
        ((r.type, (running(r.head_text), running(r.tail_text))), r, r.score)
        for r in found.relations
    )


def events(found: Annotations) -> Items:
    """Events by type, the text of the trigger, and roles with their texts."""
    texts = {mention.id: mention.text for mention in found.mentions}

    def key(event: Event) -> Hashable:
        trigger = None if event.trigger is None else texts.get(event.trigger)
        return trigger, frozenset((argument.role, argument.text) for argument in event.arguments)

    return _items(((event.type, key(event)), event, None) for event in found.events)


def labels(found: Annotations) -> Items:
    """Labels by label and task."""
    return _items(((label.label, label.task), label, label.score) for label in found.labels)


def _single_labels(predicted: Annotations, gold: Annotations) -> tuple[Items, Items]:
    """Labels, without those of a question that got more than are true of it.

    The parts of a long text are answered one by one, and their answers may differ: a document that
    was given both `yes` and `no` is not right about either.
    """
    mine, true = labels(predicted), labels(gold)
    given, wanted = (Counter(task for _, task in items) for items in (mine, true))
    clear = {item: by for item, by in mine.items() if given[item[1]] <= max(1, wanted[item[1]])}
    return clear, true


class _Concepts:
    """The concepts that mentions of a document have: of each mention, and of each text.

    Args:
        found: annotations whose mentions were normalised, as the gold or as a prediction.
    """

    def __init__(self, found: Annotations) -> None:
        self._of_mention: dict[int, frozenset[str]] = {}
        self._mentions: dict[str, set[int]] = {}
        self._by_text: dict[str, set[str]] = {}
        for mention in found.mentions:
            if mention.concept is None:
                continue
            # A mention that names more than one concept has the ids of all: `D001|D002`.
            concepts = concepts_of(mention.concept.id)
            self._of_mention[mention.id] = concepts
            for concept in concepts:
                self._mentions.setdefault(concept, set()).add(mention.id)
            self._by_text.setdefault(running(mention.text).casefold(), set()).update(concepts)

    def of_end(self, ids: Sequence[int], text: str) -> frozenset[str]:
        """The concept of one end of a relation: the one that all its mentions have.

        The mentions may share more than one, as where all of them name two diseases at once. The
        end is then the concept that no other mention has.

        Args:
            ids: the mentions of the end.
            text: its text, which counts where no mention of the end has a concept.
        """
        known = [self._of_mention[number] for number in ids if number in self._of_mention]
        if not known:
            return self.of_text(text)
        shared = frozenset.intersection(*known)
        own = frozenset(concept for concept in shared if self._mentions[concept] <= set(ids))
        return own or shared

    def of_text(self, text: str) -> frozenset[str]:
        """The concepts of a text; a text that no mention has is a concept of its own."""
        surface = running(text).casefold()
        return frozenset(self._by_text.get(surface, {surface}))


def _pairs(relations: Iterable[Relation], known: _Concepts, *, by_text: bool = False) -> Items:
    """Relations by type and the concepts of their ends.

    Args:
        relations: the relations.
        known: which mention has which concepts.
        by_text: whether the ends are known by their texts alone, because the mentions are others.
    """
    return _items(
        ((relation.type, (head, tail)), relation, relation.score)
        for relation in relations
        for head in known.of_end([] if by_text else relation.head, relation.head_text)
        for tail in known.of_end([] if by_text else relation.tail, relation.tail_text)
    )


def _concept_pairs(predicted: Annotations, gold: Annotations) -> tuple[Items, Items]:
    """Pairs of concepts, where the gold mentions say which concept a text stands for."""
    known = _Concepts(gold)
    mine = _pairs(predicted.relations, known, by_text=True)
    return mine, _pairs(gold.relations, known)


def _linked_pairs(predicted: Annotations, gold: Annotations) -> tuple[Items, Items]:
    """Pairs of concepts, where the predicted mentions say which concept a text stands for."""
    mine = _pairs(predicted.relations, _Concepts(predicted))
    return mine, _pairs(gold.relations, _Concepts(gold))


def oriented(predicted: Annotations, gold: Annotations) -> Annotations:
    """The prediction with the ends of its relations in the order in which the gold has them.

    It is for corpora whose relations have no direction: their gold names the ends in any order.
    """
    known = _Concepts(gold)
    true = string_relations(gold) | _pairs(gold.relations, known)

    def is_true(relation: Relation) -> bool:
        named = string_relations(Annotations(relations=[relation]))
        return not true.keys().isdisjoint(named | _pairs([relation], known, by_text=True))

    def turned(one: Relation) -> Relation:
        other = replace(
            one, head_text=one.tail_text, tail_text=one.head_text, head=one.tail, tail=one.head
        )
        return other if is_true(other) and not is_true(one) else one

    return replace(predicted, relations=[turned(relation) for relation in predicted.relations])


def links(found: Annotations) -> Items:
    """Mentions with a concept, by offsets and concept; by text where they were not located.

    How sure the model was of a concept is the score of the concept, not of the mention.
    """
    return _items(
        ((LINK, Link(stretch(mention), concept)), mention, mention.concept.score)
        for mention in found.mentions
        if mention.concept is not None
        for concept in concepts_of(mention.concept.id)
    )


def counted(predicted: Iterable[Item], gold: Iterable[Item]) -> dict[str, Sums]:
    """True and false positives and false negatives, by type; equal items count once."""
    mine, true = set(predicted), set(gold)
    of_type: dict[str, tuple[list[Hashable], list[Hashable]]] = {}
    for number, items in enumerate((mine, true)):
        for type_, key in items:
            of_type.setdefault(type_, ([], []))[number].append(key)
    counts = {type_: Counts.of(*pair) for type_, pair in sorted(of_type.items())}
    return {type_: (c.tp, c.fp, c.fn) for type_, c in counts.items()}


# -------------------------------------------------------------------------------------- texts

_BLEU = {
    language: BLEU(tokenize=tokenize, force=True, effective_order=True)
    for language, tokenize in {"en": "13a", "zh": "zh"}.items()
}
"""By the language that a text is translated into, not by its letters: all texts of a benchmark are
cut alike, also one that holds a name in the other script."""
_BLEU_ORDER = 4
_ORDER, _BETA = 6, 2
_WORD = re.compile(rf"[{HAN}]|[a-z0-9]+")


def _paired_texts(predicted: Annotations, gold: Annotations) -> Iterator[tuple[str, str, str]]:
    written = {text.task: text.text for text in predicted.texts}
    for true in gold.texts:
        yield true.task, written.get(true.task, ""), true.text


def _bleu_sums(predicted: Annotations, gold: Annotations) -> dict[str, Sums]:
    """Of each text: n-grams that are right, n-grams, and the lengths of text and reference.

    A text that is no translation into Chinese (`mt:zh`) is cut into words.
    """
    sums: dict[str, Sums] = {}
    for task, mine, true in _paired_texts(predicted, gold):
        language = task.partition(":")[2]
        found = _BLEU.get(language, _BLEU["en"]).sentence_score(mine, [true])
        sums[task] = (*found.counts, *found.totals, found.sys_len, found.ref_len)
    return sums


def _bleu(sums: Array) -> Array:
    def score(of: Array) -> float:
        *grams, written, wanted = (int(number) for number in of)
        right, all_ = grams[:_BLEU_ORDER], grams[_BLEU_ORDER:]
        return BLEU.compute_bleu(right, all_, written, wanted, smooth_method="exp").score

    scores: Array = np.apply_along_axis(score, -1, sums)
    return scores


def _chrf_sums(predicted: Annotations, gold: Annotations) -> dict[str, Sums]:
    return {
        task: tuple(
            number
            for order in range(1, _ORDER + 1)
            for number in _overlap(_ngrams("".join(mine.split()), order),
                                   _ngrams("".join(true.split()), order))
        )
        for task, mine, true in _paired_texts(predicted, gold)
    }  # fmt: skip


def _ngrams(of: Sequence[str], order: int) -> Counter[Hashable]:
    return Counter(tuple(of[at : at + order]) for at in range(len(of) - order + 1))


def _overlap(mine: Counter[Hashable], true: Counter[Hashable]) -> tuple[float, float, float]:
    """How many n-grams are in both, in the text and in the reference."""
    return (mine & true).total(), mine.total() if true else 0, true.total()


def _chrf(sums: Array) -> Array:
    by_order = sums.reshape(*sums.shape[:-1], _ORDER, 3)
    match, mine, true = (by_order[..., n] for n in range(3))
    both = (mine > 0) & (true > 0)
    orders = np.maximum(both.sum(axis=-1), 1)
    p = (np.divide(match, mine, out=np.zeros_like(match), where=both)).sum(axis=-1) / orders
    r = (np.divide(match, true, out=np.zeros_like(match), where=both)).sum(axis=-1) / orders
    return _percent((1 + _BETA**2) * p * r, _BETA**2 * p + r)


def _rouge(number: int | None) -> Callable[[Annotations, Annotations], dict[str, Sums]]:
    def sums(predicted: Annotations, gold: Annotations) -> dict[str, Sums]:
        return {
            task: (_rouge_f(_WORD.findall(mine.lower()), _WORD.findall(true.lower()), number), 1.0)
            for task, mine, true in _paired_texts(predicted, gold)
        }

    return sums


def _rouge_f(mine: list[str], true: list[str], number: int | None) -> float:
    """The F of n-grams, or of the longest common subsequence where `number` is None; 0 to 1."""
    if number is None:
        match, sizes = LCSseq.similarity(mine, true), (len(mine), len(true))
    else:
        grams = _ngrams(mine, number), _ngrams(true, number)
        match, sizes = (grams[0] & grams[1]).total(), (grams[0].total(), grams[1].total())
    return 2 * match / sum(sizes) if sum(sizes) else 0.0


# ------------------------------------------------------------------------------------ metrics


def _nothing_counted(predicted: Annotations, gold: Annotations) -> tuple[Items, Items]:
    return {}, {}


@dataclass(frozen=True, slots=True)
class Metric:
    """A way to say how good annotations are.

    Attributes:
        name: its name in scores.json.
        sums: (predicted, gold) -> what one document adds, by type.
        value: the value in percent of added sums, whose last axis are the sums.
        width: how many sums there are; three are true and false positives and false negatives.
        items: (predicted, gold) -> the items of both that it counts; none where it counts none.
    """

    name: str
    sums: Callable[[Annotations, Annotations], Mapping[str, Sums]]
    value: Callable[[Array], Array]
    width: int = 3
    items: Callable[[Annotations, Annotations], tuple[Items, Items]] = _nothing_counted

    @property
    def counts(self) -> bool:
        """Whether its sums are true and false positives and false negatives."""
        return self.width == 3

    def total(self, by_type: Mapping[str, Sums]) -> Array:
        """The sums of all types together."""
        total: Array = np.array([*by_type.values(), (0.0,) * self.width], float).sum(axis=0)
        return total


def _strings(found: Annotations) -> Items:
    """Mentions with a type, and relations: an answer has the ones or the others."""
    return string_mentions(found) | string_relations(found)


def _of_each(
    items: Callable[[Annotations], Items],
) -> Callable[[Annotations, Annotations], tuple[Items, Items]]:
    return lambda predicted, gold: (items(predicted), items(gold))


def _counting(
    name: str,
    items: Callable[[Annotations, Annotations], tuple[Items, Items]],
    value: Callable[[Array], Array] = f1,
) -> Metric:
    """A metric that counts items."""
    return Metric(
        name, lambda predicted, gold: counted(*items(predicted, gold)), value, items=items
    )


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _counting("strict_f1", _of_each(strict_mentions)),
        _counting("string_f1", _of_each(_strings)),
        _counting("concept_f1", _concept_pairs),
        _counting("linked_f1", _linked_pairs),
        _counting("link_f1", _of_each(links)),
        _counting("event_f1", _of_each(events)),
        _counting("micro_f1", _of_each(labels)),
        _counting("accuracy", _single_labels, recall),
        Metric("bleu", _bleu_sums, _bleu, 2 * _BLEU_ORDER + 2),
        Metric("chrf", _chrf_sums, _chrf, 3 * _ORDER),
        Metric("rouge_1", _rouge(1), _mean, 2),
        Metric("rouge_2", _rouge(2), _mean, 2),
        Metric("rouge_l", _rouge(None), _mean, 2),
    )
}

# ---------------------------------------------------------------------------------- intervals


def interval(metric: Metric, documents: Array, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a metric, by drawing as many documents again, with repetition.

    Args:
        metric: the metric.
        documents: the sums of each document; their order does not matter.
        seed: of the draws.
    """
    if not len(documents):
        return 0.0, 0.0
    values = metric.value(_drawn(documents, seed))
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much one run is better than another on the same documents.

    Attributes:
        value: the value of the second less that of the first, in points of percent.
        low, high: the 95 % interval of it.
        p: the share of draws in which the sign is another, twice: near 0 for a real difference.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def verdict(self) -> str:
        """What the difference says, in words."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no clear difference"


def paired(metric: Metric, first: Array, second: Array, *, seed: int = 0) -> Difference:
    """Compare two runs on the same documents by a paired bootstrap.

    Args:
        metric: the metric.
        first, second: the sums of each document in either run, in the same order of documents.
        seed: of the draws.
    """
    both = np.concatenate([first, second], axis=1)
    split = first.shape[1]

    def difference(sums: Array) -> Array:
        return metric.value(sums[..., split:]) - metric.value(sums[..., :split])

    draws = difference(_drawn(both, seed))
    low, high = np.percentile(draws, (2.5, 97.5))
    p = min(1.0, 2 * min(float((draws <= 0).mean()), float((draws >= 0).mean())))
    return Difference(float(difference(both.sum(axis=0))), float(low), float(high), p)


def _drawn(documents: Array, seed: int) -> Array:
    """The sums over documents that are drawn with repetition, SAMPLES times."""
    ordered = documents[np.lexsort(documents.T[::-1])]
    draw = np.random.default_rng(seed)
    return np.concatenate(
        [
            ordered[draw.integers(len(ordered), size=(_DRAWN_AT_ONCE, len(ordered)))].sum(axis=1)
            for _ in range(SAMPLES // _DRAWN_AT_ONCE)
        ]
    )


# ------------------------------------------------------------------------- scores of a model


class Bin(NamedTuple):
    """Annotations whose scores are alike: their mean score, the share of right ones, how many."""

    score: float
    right: float
    number: int


def calibration(scored: Iterable[tuple[float, bool]], bins: int = 10) -> list[Bin]:
    """How often annotations of a score are right, in bins of equal width; empty bins are left out.

    Args:
        scored: the score (0 to 1) of each annotation, and whether it is right.
        bins: how many.
    """
    found: dict[int, list[tuple[float, bool]]] = {}
    for score, right in scored:
        found.setdefault(min(bins - 1, int(score * bins)), []).append((score, right))
    return [
        Bin(
            sum(score for score, _ in group) / len(group),
            sum(right for _, right in group) / len(group),
            len(group),
        )
        for _, group in sorted(found.items())
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """By how much scores and shares of right annotations differ in the mean (ECE); 0 to 1."""
    number = sum(one.number for one in bins)
    return sum(abs(one.score - one.right) * one.number for one in bins) / number if bins else 0.0


def best_threshold(scored: Iterable[tuple[float, bool]], gold: int) -> float:
    """The lowest score that annotations must have for the best F1; 0 keeps them all.

    Args:
        scored: the score of each annotation, and whether it is right.
        gold: the number of gold annotations.
    """
    best, threshold, right = 0.0, 0.0, 0
    ordered = sorted(scored, reverse=True)
    for number, (score, is_right) in enumerate(ordered, 1):
        right += is_right
        if number < len(ordered) and ordered[number][0] == score:
            continue  # equal scores are kept or dropped together
        value = 2 * right / (number + gold) if number + gold else 0.0
        if value >= best:  # of equal values the one that keeps more
            best, threshold = value, score if number < len(ordered) else 0.0
    return threshold
