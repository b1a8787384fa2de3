"""Metrics: hand-computed values, properties, and agreement with independent implementations."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nervaluate import Evaluator
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from sklearn.preprocessing import MultiLabelBinarizer

from taiyi_ray import metrics
from taiyi_ray.metrics import (
    METRICS,
    Array,
    Quality,
    best_threshold,
    calibration,
    calibration_error,
    interval,
    oriented,
    paired,
)
from taiyi_ray.records import (
    Annotations,
    Argument,
    Concept,
    Event,
    Label,
    Mention,
    Relation,
    Span,
    Text,
)
from taiyi_ray.tasks.task import Counts


def mention(type_: str | None, text: str, start: int | None, *, id_: int = 0) -> Mention:
    end = None if start is None else start + len(text)
    return Mention(id_, type_, text, start, end)


def value(name: str, *pairs: tuple[Annotations, Annotations]) -> float:
    """The value of a metric over documents: pairs of prediction and gold."""
    metric = METRICS[name]
    return float(metric.value(documents(name, *pairs).sum(axis=0)))


def documents(name: str, *pairs: tuple[Annotations, Annotations]) -> Array:
    metric = METRICS[name]
    return np.array([metric.total(metric.sums(mine, gold)) for mine, gold in pairs])


def mentions(*found: Mention) -> Annotations:
    return Annotations(list(found))


def labelled(*names: str) -> Annotations:
    return Annotations(labels=[Label("tc", name) for name in names])


def written(text: str, task: str = "title") -> Annotations:
    return Annotations(texts=[Text(task, text)])


# ------------------------------------------------------------------------- computed by hand


def test_precision_recall_and_f1_are_those_of_the_counts():
    assert Quality.of(Counts(3, 1, 2)) == pytest.approx((75.0, 60.0, 200 / 3))
    assert Quality.of(Counts(0, 0, 0)) == (0.0, 0.0, 0.0)
    assert Quality.of(Counts(0, 4, 0)) == (0.0, 0.0, 0.0)


def test_strict_wants_the_same_type_and_offsets_and_strings_are_sets_of_a_document():
    gold = mentions(mention("disease", "gout", 0), mention("disease", "gout", 20))
    mine = mentions(mention("disease", "gout", 0), mention("chemical", "gout", 20))
    assert METRICS["strict_f1"].sums(mine, gold) == {"chemical": (0, 1, 0), "disease": (1, 0, 1)}
    assert METRICS["string_f1"].sums(mine, gold) == {"chemical": (0, 1, 0), "disease": (1, 0, 0)}
    assert value("strict_f1", (mine, gold)) == pytest.approx(50.0)
    assert value("string_f1", (mine, gold)) == pytest.approx(200 / 3)


def test_a_mention_across_a_line_break_is_the_same_string():
    gold = mentions(mention("disease", "lung\ncancer", 0))
    assert value("string_f1", (mentions(mention("disease", "lung cancer", 40)), gold)) == 100


def test_a_mention_that_was_not_located_is_no_strict_hit_and_may_be_a_string_hit():
    gold, mine = mentions(mention("gene", "p53", 4)), mentions(mention("gene", "p53", None))
    assert value("strict_f1", (mine, gold)) == 0
    assert value("string_f1", (mine, gold)) == 100


def test_discontinuous_mentions_are_compared_by_all_their_parts():
    parts = Mention(0, "disease", "lung tumour", 0, 20, [Span(0, 4), Span(14, 20)])
    whole = Mention(0, "disease", "lung and breast tumour", 0, 20)
    turned = Mention(0, "disease", "lung tumour", 0, 20, [Span(14, 20), Span(0, 4)])
    assert value("strict_f1", (mentions(whole), mentions(parts))) == 0
    assert value("strict_f1", (mentions(turned), mentions(parts))) == 100


def cdr() -> Annotations:
    """A document in the style of BC5CDR: `famotidine` and `it` are D1, `delirium` is D2."""
    found = [
        Mention(0, None, "Famotidine", 0, 10, concept=Concept("", "D1")),
        Mention(1, None, "delirium", 20, 28, concept=Concept("", "D2")),
        Mention(2, None, "FAM", 40, 43, concept=Concept("", "D1")),
        Mention(3, None, "pain and fever", 50, 64, concept=Concept("", "D3|D4")),
        Mention(4, None, "fever", 59, 64, concept=Concept("", "D4")),
    ]
    relations = [
        Relation(0, "cid", "Famotidine", "delirium", [0, 2], [1]),
        Relation(1, "cid", "Famotidine", "fever", [0, 2], [3, 4]),
    ]
    return Annotations(found, relations)


def linked(*pairs: tuple[str, str]) -> Annotations:
    return Annotations(relations=[Relation(0, "cid", *pair, [], []) for pair in pairs])


def test_pairs_of_concepts_count_once_by_whatever_name_they_are_called():
    """The rules of the CDR task: a document has a set of pairs of identifiers."""
    assert METRICS["concept_f1"].sums(linked(("FAM", "Delirium")), cdr()) == {"cid": (1, 0, 1)}
    twice = linked(("FAM", "delirium"), ("famotidine", "delirium"), ("FAM", "fever"))
    assert value("concept_f1", (twice, cdr())) == 100
    wrong = linked(("FAM", "nausea"), ("delirium", "FAM"))
    assert METRICS["concept_f1"].sums(wrong, cdr()) == {"cid": (0, 2, 2)}
    assert METRICS["concept_f1"].sums(linked(("FAM", "pain and fever")), cdr()) == {
        "cid": (1, 1, 1)
    }


def test_relations_without_direction_are_turned_as_the_gold_has_them():
    turned = oriented(linked(("delirium", "FAM"), ("fever", "Famotidine"), ("fever", "x")), cdr())
    found = [(one.head_text, one.tail_text) for one in turned.relations]
    assert found == [("FAM", "delirium"), ("Famotidine", "fever"), ("fever", "x")]
    assert value("concept_f1", (turned, cdr())) == pytest.approx(80)
    assert oriented(cdr(), cdr()) == cdr()


def test_pairs_of_strings_are_those_that_the_gold_names():
    mine = linked(("Famotidine", "delirium"), ("FAM", "delirium"))
    assert METRICS["string_f1"].sums(mine, cdr()) == {"cid": (1, 1, 1)}


def test_events_are_equal_with_trigger_and_all_arguments():
    def happened(*arguments: tuple[str, str]) -> Annotations:
        players = [Argument(role, None, text) for role, text in arguments]
        return Annotations(
            [mention(None, "binds", 4, id_=7)], events=[Event(0, "bind", 7, players)]
        )

    gold = happened(("Theme", "p53"), ("Cause", "MDM2"))
    assert value("event_f1", (happened(("Cause", "MDM2"), ("Theme", "p53")), gold)) == 100
    assert value("event_f1", (happened(("Theme", "p53")), gold)) == 0


def test_accuracy_is_the_share_of_gold_labels_that_were_given():
    pairs = [(labelled("yes"), labelled("yes")), (labelled("no"), labelled("yes"))]
    pairs += [(labelled(), labelled("maybe")), (labelled("maybe"), labelled("maybe"))]
    assert value("accuracy", *pairs) == 50
    assert value("micro_f1", *pairs) == pytest.approx(100 * 4 / 7)


def test_a_document_whose_parts_are_answered_differently_is_not_right_about_a_single_label():
    assert value("accuracy", (labelled("yes", "no"), labelled("yes"))) == 0
    assert value("accuracy", (labelled("yes", "no"), labelled("yes", "no"))) == 100


def test_rouge_and_chrf_of_short_texts():
    pair = (written("the cat sat"), written("The cat sat down."))
    assert value("rouge_1", pair) == pytest.approx(100 * 6 / 7)
    assert value("rouge_2", pair) == pytest.approx(100 * 4 / 5)
    assert value("rouge_l", (written("cat the sat"), pair[1])) == pytest.approx(100 * 4 / 7)
    assert value("rouge_l", (written("高血压药"), written("高血压的药"))) == pytest.approx(800 / 9)
    # One letter of two: unigrams 1/2 and 1/2, no bigram; F2 of the means 1/4 and 1/4.
    assert value("chrf", (written("ab"), written("ax"))) == pytest.approx(25.0)


def test_bleu_of_short_texts():
    # Four words of five, three pairs of four, two of three, one of two; as long as the reference.
    pair = (written("a b c d x", "mt:en"), written("a b c d e", "mt:en"))
    by_hand = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    assert value("bleu", pair) == pytest.approx(by_hand)
    # All n-grams are right, and two words of seven are missing: e to the power of 1 - 7/5.
    short = (written("a b c d e", "mt:en"), written("a b c d e f g", "mt:en"))
    assert value("bleu", short) == pytest.approx(100 * np.exp(1 - 7 / 5))


def test_the_language_that_is_translated_into_decides_how_bleu_cuts_texts():
    one = ("服用 warfarin 者", "服用 Warfarin 者")
    words, characters = (
        METRICS["bleu"].sums(*(written(text, task) for text in one))[task]
        for task in ("mt:en", "mt:zh")
    )
    assert (words[:1], words[-1]) == ((2,), 3)
    assert (characters[:1], characters[-1]) == ((3,), 4)


# ------------------------------------------------------------------------------- properties

names = st.sampled_from(["disease", "chemical", "gene"])
places = st.integers(0, 12)
found = st.lists(st.tuples(names, places), max_size=8).map(
    lambda pairs: mentions(*(mention(type_, f"w{at}", at) for type_, at in pairs))
)
corpora = st.lists(st.tuples(found, found), min_size=1, max_size=6)


def random_cases(seed: int, cases: int = 1000) -> Iterator[random.Random]:
    draw = random.Random(seed)
    yield from (random.Random(draw.random()) for _ in range(cases))


def everything(draw: random.Random) -> Annotations:
    """Annotations of every kind: what they say may differ, but there is always something."""
    found = [
        Mention(n, draw.choice("ab"), f"w{at}", at, at + 2, concept=Concept("", f"D{at % 3}"))
        for n, at in enumerate(draw.sample(range(20), draw.randint(2, 5)))
    ]
    head, tail = draw.sample(found, 2)
    relations = [Relation(0, draw.choice("xy"), head.text, tail.text, [head.id], [tail.id])]
    players = [Argument(draw.choice("rs"), tail.id, tail.text)]
    text = " ".join(draw.choices("abcdef", k=9))
    return Annotations(
        found,
        relations,
        [Event(0, draw.choice("xy"), head.id, players)],
        [Label("tc", draw.choice("abc"))],
        [Text("mt", text), Text("title", text[::-1])],
    )


@pytest.mark.parametrize("name", METRICS)
def test_perfect_is_100_and_empty_is_0(name):
    for draw in random_cases(6, 40):
        gold = [everything(draw) for _ in range(3)]
        assert value(name, *((true, true) for true in gold)) == pytest.approx(100)
        assert value(name, *((Annotations(), true) for true in gold)) == 0


@pytest.mark.parametrize("name", METRICS)
def test_neither_the_order_of_documents_nor_their_units_change_a_value(name):
    metric = METRICS[name]
    for draw in random_cases(7, 40):
        whole = documents(name, *((everything(draw), everything(draw)) for _ in range(5)))
        cut = draw.randint(0, 5)
        expected = pytest.approx(metric.value(whole.sum(axis=0)))
        assert metric.value(whole[:cut].sum(axis=0) + whole[cut:].sum(axis=0)) == expected
        assert metric.value(np.sum(draw.sample(list(whole), 5), axis=0)) == expected


@given(corpora, st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_change_an_interval(pairs, draw):
    metric = METRICS["strict_f1"]
    whole = documents("strict_f1", *pairs)
    other = list(whole)
    draw.shuffle(other)
    assert interval(metric, np.array(other)) == interval(metric, whole)


@given(corpora)
def test_the_value_lies_in_its_interval_unless_documents_are_few(pairs):
    whole = documents("strict_f1", *pairs * 10)
    low, high = interval(METRICS["strict_f1"], whole)
    assert 0 <= low <= METRICS["strict_f1"].value(whole.sum(axis=0)) <= high <= 100


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution():
    right, asked = 60, 100
    sums = np.array([(1, 0, 0)] * right + [(0, 1, 1)] * (asked - right), float)
    low, high = interval(METRICS["accuracy"], sums)
    assert (low, high) == pytest.approx((50.4, 69.6), abs=1.1)
    assert interval(METRICS["accuracy"], sums[:0]) == (0.0, 0.0)


def test_a_paired_difference_is_clear_only_where_documents_agree_on_it():
    metric = METRICS["accuracy"]
    right, wrong = (1.0, 0.0, 0.0), (0.0, 1.0, 1.0)
    first = np.array([right, wrong] * 50)
    better = np.array([right, right] * 45 + [right, wrong] * 5)
    same = paired(metric, first, first)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert same.verdict == "no clear difference"
    clear = paired(metric, first, better)
    assert (clear.value, clear.verdict) == (45.0, "better")
    assert clear.p < 0.01
    assert paired(metric, better, first).verdict == "worse"
    mixed = np.array([wrong, right] * 50)  # as often right, on other documents
    assert paired(metric, first, mixed).verdict == "no clear difference"


# ------------------------------------------------------------------------- scores of a model


def test_calibration_groups_annotations_by_score():
    bins = calibration([(0.05, False), (0.95, True), (0.99, True), (1.0, False)])
    assert [(b.number, b.right) for b in bins] == [(1, 0.0), (3, 2 / 3)]
    assert bins[1].score == pytest.approx(0.98)


def test_the_error_of_calibration_is_the_mean_distance_of_scores_and_shares():
    bins = calibration([(0.25, False)] * 3 + [(0.9, True)])
    assert calibration_error(bins) == pytest.approx((3 * 0.25 + 0.1) / 4)
    assert calibration_error([]) == 0


def test_the_best_threshold_drops_what_lowers_f1_and_keeps_all_if_nothing_does():
    scored = [(0.9, True), (0.8, True), (0.3, False), (0.2, False)]
    assert best_threshold(scored, 2) == 0.8
    assert best_threshold([(0.9, True), (0.1, True)], 2) == 0.0
    assert best_threshold([], 3) == 0.0
    assert best_threshold([(0.5, True), (0.5, False)], 1) == 0.0  # equal scores stay together


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.7, 0.9]), st.booleans()), max_size=12))
def test_no_other_threshold_is_better(scored):
    gold = sum(right for _, right in scored) + 1

    def f_above(threshold: float) -> float:
        kept = [right for score, right in scored if score >= threshold]
        return 2 * sum(kept) / (len(kept) + gold)

    best = best_threshold(scored, gold)
    assert all(f_above(best) >= f_above(other) for other in (0.0, 0.1, 0.4, 0.7, 0.9))


# --------------------------------------------------------------- independent implementations


def spans(draw: random.Random) -> list[tuple[str, int, int]]:
    """Mentions of a document that do not overlap, which nervaluate takes for granted."""
    places = sorted(draw.sample(range(12), 2 * draw.randrange(5)))
    return [(draw.choice("ab"), *at) for at in zip(places[::2], places[1::2], strict=True)]


def test_strict_f1_agrees_with_nervaluate():
    for draw in random_cases(1):
        both = [[spans(draw) for _ in range(draw.randint(1, 3))]]
        both.append([spans(draw) if draw.random() < 0.5 else list(one) for one in both[0]])
        true, pred = (
            [[{"label": t, "start": start, "end": end} for t, start, end in one] for one in of]
            for of in both
        )
        theirs = Evaluator(true, pred, tags=["a", "b"], loader="dict").evaluate()
        gold, mine = (
            [mentions(*(Mention(0, t, "x", start, end) for t, start, end in one)) for one in of]
            for of in both
        )
        pairs = list(zip(mine, gold, strict=True))
        sums = documents("strict_f1", *pairs).sum(axis=0)
        strict = theirs["overall"]["strict"]
        assert metrics.precision(sums) == pytest.approx(100 * strict.precision)
        assert metrics.recall(sums) == pytest.approx(100 * strict.recall)
        assert value("strict_f1", *pairs) == pytest.approx(100 * strict.f1)


def test_micro_f1_and_accuracy_agree_with_scikit_learn():
    for draw in random_cases(2):
        true, pred = (
            np.array([[draw.random() < 0.4 for _ in "abcd"] for _ in range(4)]) for _ in range(2)
        )
        pairs = [
            tuple(labelled(*(n for n, yes in zip("abcd", row, strict=True) if yes)) for row in rows)
            for rows in zip(pred, true, strict=True)
        ]
        sums = documents("micro_f1", *pairs).sum(axis=0)
        found = [of(sums) for of in (metrics.precision, metrics.recall, metrics.f1)]
        theirs = precision_recall_fscore_support(true, pred, average="micro", zero_division=0)
        assert found == pytest.approx([100 * float(one) for one in theirs[:3]])
        one_of = [draw.choices("abcd", k=6) for _ in range(2)]
        singles = [tuple(map(labelled, names)) for names in zip(*one_of, strict=True)]
        assert value("accuracy", *singles) == pytest.approx(100 * accuracy_score(*one_of))


def by_scikit_learn(pairs: list[tuple[set[object], set[object]]]) -> list[float]:
    """Precision, recall and F1 in percent of sets, as a problem of many labels a document."""
    items = {repr(item) for both in pairs for of in both for item in of}
    # With fewer than two columns, scikit-learn takes them for something else.
    every = MultiLabelBinarizer().fit([[*items, "in none", "in none either"]])
    pred, true = (
        every.transform([map(repr, of) for of in one]) for one in zip(*pairs, strict=True)
    )
    theirs = precision_recall_fscore_support(true, pred, average="micro", zero_division=0)
    return [100 * float(one) for one in theirs[:3]]


def words(text: str) -> str:
    return " ".join(text.split())


def pairs_by_name(found: Annotations) -> set[object]:
    return {(r.type, words(r.head_text), words(r.tail_text)) for r in found.relations}


def names_and_pairs(found: Annotations) -> set[object]:
    return {(m.type, words(m.text)) for m in found.mentions if m.type} | pairs_by_name(found)


def places_and_concepts(found: Annotations) -> set[object]:
    concepts = ((m.start, m.end, m.concept.id) for m in found.mentions if m.concept)
    return {(*place, id_) for *place, ids in concepts for id_ in ids.split("|")}


def happenings(found: Annotations) -> set[object]:
    texts = {mention.id: mention.text for mention in found.mentions}
    return {
        (
            event.type,
            texts[event.trigger],
            tuple(sorted({(a.role, a.text) for a in event.arguments})),
        )
        for event in found.events
        if event.trigger is not None
    }


def few_words(draw: random.Random) -> Annotations:
    """Annotations of every kind over so few words, concepts and types that many are equal."""
    texts = ("gout", "lung cancer", "lung\ncancer", "p53")
    found = [
        Mention(n, draw.choice(["a", "b", None]), draw.choice(texts), at, at + 2)
        for n, at in enumerate(draw.sample(range(6), draw.randint(1, 5)))
    ]
    for mention in found:
        id_ = draw.choice(["D1", "D2", "D1|D2", None])
        mention.concept = Concept("", id_) if id_ else None
    relations = [
        Relation(n, draw.choice("xy"), draw.choice(texts), draw.choice(texts), [], [])
        for n in range(draw.randint(0, 4))
    ]
    events = [
        Event(n, draw.choice("xy"), draw.choice(found).id, [
            Argument(draw.choice("rs"), None, draw.choice(texts)) for _ in range(draw.randint(0, 2))
        ])
        for n in range(draw.randint(0, 4))
    ]  # fmt: skip
    return Annotations(found, relations, events)


@pytest.mark.parametrize(
    ("name", "items"),
    [("string_f1", names_and_pairs), ("link_f1", places_and_concepts), ("event_f1", happenings)],
)
def test_items_are_counted_as_scikit_learn_counts_sets(name, items):
    for draw in random_cases(8):
        pairs = [(few_words(draw), few_words(draw)) for _ in range(draw.randint(1, 3))]
        sums = documents(name, *pairs).sum(axis=0)
        found = [of(sums) for of in (metrics.precision, metrics.recall, metrics.f1)]
        expected = by_scikit_learn([(items(mine), items(true)) for mine, true in pairs])
        assert found == pytest.approx(expected)


def test_pairs_of_concepts_are_counted_by_the_rule_of_the_cdr_task():
    """A set of pairs of identifiers; a text that is no gold mention has its own."""
    for draw in random_cases(9):
        texts = [f"n{draw.randrange(6)}" for _ in range(6)]
        ids = {text: f"D{draw.randrange(4)}" for text in texts}
        found = [
            Mention(n, None, text, 5 * n, 5 * n + 2, concept=Concept("", ids[text]))
            for n, text in enumerate(texts)
        ]
        having: dict[str, list[Mention]] = {}
        for mention in found:
            having.setdefault(ids[mention.text], []).append(mention)
        true = {(draw.choice([*having]), draw.choice([*having])) for _ in range(3)}
        relations = [
            Relation(n, "cid", heads[0].text, tails[0].text, *([m.id for m in of] for of in ends))
            for n, ends in enumerate((having[head], having[tail]) for head, tail in true)
            for heads, tails in [ends]
        ]
        names = [*texts, "other"]
        named = [(draw.choice(names), draw.choice(names)) for _ in range(4)]
        mine = {(ids.get(head, head), ids.get(tail, tail)) for head, tail in named}
        sums = documents("concept_f1", (linked(*named), Annotations(found, relations))).sum(axis=0)
        found_values = [of(sums) for of in (metrics.precision, metrics.recall, metrics.f1)]
        assert found_values == pytest.approx(by_scikit_learn([(set(mine), set(true))]))


def some_texts(draw: random.Random, letters: str) -> list[tuple[str, str]]:
    """Texts with references: some equal, some with words dropped, some unlike."""
    pairs = []
    for _ in range(draw.randint(1, 4)):
        true = [draw.choice(letters) for _ in range(draw.randint(1, 24))]
        mine = [one for one in true if draw.random() < 0.9]
        mine = draw.choice([true, mine, draw.sample(true, len(true)), [draw.choice(letters)]])
        pairs.append(("".join(mine), "".join(true)))
    return pairs


@pytest.mark.parametrize(
    ("letters", "task", "tokenize"),
    [("ab c. D,\n1高", "mt:en", "13a"), ("高血压的药，ab 1%", "mt:zh", "zh")],
    ids=["English", "Chinese"],
)
def test_bleu_and_chrf_agree_with_sacrebleu(letters, task, tokenize):
    bleu, chrf = BLEU(tokenize=tokenize, force=True), CHRF()
    for draw in random_cases(3):
        # A reference is never empty.
        pairs = [(mine, letters[0] + true) for mine, true in some_texts(draw, letters)]
        hypotheses, references = map(list, zip(*pairs, strict=True))
        of = [(written(mine, task), written(true, task)) for mine, true in pairs]
        expected = bleu.corpus_score(hypotheses, [references]).score
        assert value("bleu", *of) == pytest.approx(expected)
        assert value("chrf", *of) == pytest.approx(
            chrf.corpus_score(hypotheses, [references]).score
        )


def test_rouge_agrees_with_rouge_score():
    names = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}
    scorer = RougeScorer([*names])
    for draw in random_cases(4):
        pairs = some_texts(draw, "ab c. D1-")
        of = [(written(mine), written(true)) for mine, true in pairs]
        scored = [scorer.score(true, mine) for mine, true in pairs]
        for theirs, ours in names.items():
            mean = sum(one[theirs].fmeasure for one in scored) / len(scored)
            assert value(ours, *of) == pytest.approx(100 * mean)


def test_rouge_of_chinese_agrees_with_rouge_score_over_characters():
    class Characters:
        def tokenize(self, text: str) -> list[str]:
            return [letter for letter in text if not letter.isspace()]

    scorer = RougeScorer(["rouge1", "rougeL"], tokenizer=Characters())
    for draw in random_cases(5):
        pairs = some_texts(draw, "高血压的药 ")
        scored = [scorer.score(true, mine) for mine, true in pairs]
        of = [(written(mine), written(true)) for mine, true in pairs]
        for theirs, ours in {"rouge1": "rouge_1", "rougeL": "rouge_l"}.items():
            mean = sum(one[theirs].fmeasure for one in scored) / len(scored)
            assert value(ours, *of) == pytest.approx(100 * mean)


# ----------------------------------------------------------- the official evaluator's own sample

CDR_SAMPLE = Path(__file__).parent / "cdr_sample"


def cdr_sample(name: str) -> dict[str, Annotations]:
    """The annotations of a file of the sample, by document."""
    lines = gzip.decompress((CDR_SAMPLE / f"{name}.tsv.gz").read_bytes()).decode().splitlines()
    found: dict[str, Annotations] = {}
    pairs: dict[str, list[tuple[str, str]]] = {}
    for document, *fields in (line.split("\t") for line in lines):
        of = found.setdefault(document, Annotations())
        if fields[0] == "CID":
            pairs.setdefault(document, []).append((fields[1], fields[2]))
            continue
        start, end, text, type_, id_ = fields
        mention = Mention(len(of.mentions), type_, text, int(start), int(end))
        mention.concept = Concept("", id_) if id_ else None
        of.mentions.append(mention)
    for document, named in pairs.items():
        of = found[document]
        ends = {
            id_: [m for m in of.mentions if m.concept and id_ in m.concept.id.split("|")]
            for pair in named
            for id_ in pair
        }
        for head, tail in named:
            heads, tails = ends[head], ends[tail]
            texts = (heads[0].text, tails[0].text)
            ids = ([m.id for m in heads], [m.id for m in tails])
            of.relations.append(Relation(len(of.relations), "cid", *texts, *ids))
    return found


def sample_counts(metric: str, name: str) -> list[float]:
    """The sums of a metric over the sample, of a file with predictions."""
    gold, mine = cdr_sample("gold"), cdr_sample(name)
    pairs = ((mine.get(document, Annotations()), true) for document, true in gold.items())
    sums: list[float] = documents(metric, *pairs).sum(axis=0).tolist()
    return sums


def test_pairs_through_predicted_concepts_are_counted_as_the_official_evaluator_does():
    """Its readme: 90 true positives, 533 false positives and 33 false negatives."""
    assert sample_counts("linked_f1", "relations") == [90, 533, 33]


def test_diseases_are_counted_as_the_official_evaluator_does():
    """Its readme: 303 true positives, 105 false positives and 121 false negatives."""
    gold, mine = cdr_sample("gold"), cdr_sample("mentions")
    sums = [
        METRICS["strict_f1"].sums(mine.get(document, Annotations()), true).get("Disease", (0, 0, 0))
        for document, true in gold.items()
    ]
    assert np.sum(sums, axis=0).tolist() == [303, 105, 121]


def test_every_metric_says_nothing_of_an_empty_document():
    for metric in METRICS.values():
        assert (
            metric.total(metric.sums(Annotations(), Annotations())).tolist() == [0] * metric.width
        )
        assert metric.value(np.zeros((2, metric.width))).tolist() == [0, 0]
    assert set(metrics.METRICS) >= {"strict_f1", "string_f1", "micro_f1", "accuracy"}
