"""Scoring: rows joined with gold by position, the ceiling, and what does not count."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from sacrebleu.metrics import BLEU, CHRF

from taiyi_ray.catalogue import DataRoot
from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate.benchmark import benchmarks
from taiyi_ray.evaluate.evaluation import _best_thresholds
from taiyi_ray.evaluate.scoring import COUNTS, BenchmarkScores, _scored, counts_table, score
from taiyi_ray.evaluate.source import BenchmarkSource
from taiyi_ray.metrics import METRICS
from taiyi_ray.models.trained import Trained, document_keys
from taiyi_ray.records import (
    Annotations,
    Concept,
    Document,
    Label,
    Mention,
    Relation,
    Text,
    passages,
)
from tests.evaluate.made import answered, corpora, source


@pytest.fixture
def root(tmp_path):
    return corpora(tmp_path / "corpora")


def gold_of(document: Document) -> Annotations:
    return document.gold


def nothing(document: Document) -> Annotations:
    return Annotations()


def record(root, tmp_path, name, find, metric=0, **more):
    asked = source(root, name)
    answered(tmp_path / "out", asked, find, **more)
    return score(asked, str(tmp_path / "out")).as_records(0)[metric]


@pytest.mark.parametrize("name", ["bc5cdr-chemical", "bc5cdr-disease", "bc5cdr-cid", "kuake-qic"])
def test_the_gold_itself_scores_100_in_every_metric_and_nothing_scores_0(root, tmp_path, name):
    for find, expected in ((gold_of, 100), (nothing, 0)):
        asked = source(root, name)
        answered(tmp_path / f"{expected}", asked, find)
        for found in score(asked, str(tmp_path / f"{expected}")).as_records(0):
            assert found["value"] == found["low"] == found["high"] == expected
            assert found["ceiling"] == 100
            assert found["benchmark"] == name


def test_types_that_were_not_asked_for_are_neither_missed_nor_wrong(root, tmp_path):
    found = record(root, tmp_path, "bc5cdr-chemical", gold_of)  # it holds diseases, too
    assert (found["value"], found["documents"], found["questions"]) == (100, 6, 6)


def test_half_of_the_mentions_in_half_of_the_documents_is_what_it_is(root, tmp_path):
    def half(document):
        return Annotations(document.gold.mentions[:1] if document.position < 3 else [])

    found = record(root, tmp_path, "bc5cdr-chemical", half)
    assert found["value"] == pytest.approx(100 * 2 * 3 / (2 * 3 + 6 * 3 - 3))
    assert found["low"] < found["value"] < found["high"]


def test_the_ceiling_is_what_the_answer_that_states_the_gold_is_read_as(root, tmp_path):
    # The second `hypotension` is not annotated; an answer cannot say which one it means.
    text = (root / "CDR_TestSet.PubTator.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("100\t48\t")]
    (root / "CDR_TestSet.PubTator.txt").write_text("\n".join(lines) + "\n")
    strict = record(root, tmp_path, "bc5cdr-disease", gold_of)
    assert (strict["value"], strict["ceiling"]) == (100, pytest.approx(100 * 34 / 35))


def test_relations_count_by_concepts_and_by_the_strings_of_the_gold(root, tmp_path):
    def other_case(document):
        return Annotations(
            relations=[Relation(0, "chemical_induced_disease", "CLONIDINE", "hypotension", [], [])]
        )

    assert record(root, tmp_path, "bc5cdr-cid", other_case, 0)["value"] == 100
    assert record(root, tmp_path, "bc5cdr-cid", other_case, 1)["value"] == 0


def test_only_relations_without_direction_may_be_named_the_other_way_round(root, tmp_path):
    def other_way(document):
        (one,) = document.gold.relations
        return Annotations(
            relations=[replace(one, head_text=one.tail_text, tail_text=one.head_text)]
        )

    for directed, value in ((True, 0), (False, 100)):
        asked = source(root, "bc5cdr-cid")
        benchmark = asked.benchmark.model_copy(update={"directed": directed})
        of = replace(asked, benchmark=benchmark)
        answered(tmp_path / str(directed), of, other_way)
        found = score(of, str(tmp_path / str(directed))).as_records(0)
        assert [record["value"] for record in found] == [value, value]


def test_relations_count_by_the_concepts_that_the_model_gives_to_names(root, tmp_path):
    def values(find):
        asked = source(root, "bc5cdr-cid-linked")
        out = tmp_path / find.__name__
        answered(out, asked, find)
        found = score(asked, str(out)).as_records(0)
        assert [one["metric"] for one in found] == ["linked_f1", "concept_f1", "string_f1"]
        assert {one["ceiling"] for one in found} == {100}
        return [one["value"] for one in found]

    def wrong_concept(document):
        wrong = [
            replace(m, concept=Concept("", "D1") if m.text == "Clonidine" else m.concept)
            for m in document.gold.mentions
        ]
        return replace(document.gold, mentions=wrong)

    def no_concept(document):
        bare = [replace(mention, concept=None) for mention in document.gold.mentions]
        return replace(document.gold, mentions=bare)

    assert values(gold_of) == [100, 100, 100]
    assert values(wrong_concept) == values(no_concept) == [0, 100, 100]


def test_concepts_of_mentions_count_by_place_and_concept(root, tmp_path):
    def first_is_wrong(document):
        first, *rest = document.gold.mentions
        return Annotations([replace(first, concept=Concept("", "D1")), *rest[:-1]])

    asked = source(root, "bc5cdr-concepts")
    answered(tmp_path / "out", asked, first_is_wrong)
    found = score(asked, str(tmp_path / "out"))
    (record,) = found.as_records(0)
    assert (record["metric"], record["ceiling"], record["gold"]) == ("link_f1", 100, 36)
    assert (record["precision"], record["recall"]) == pytest.approx((80, 100 * 4 / 6))
    assert found.kinds["wrong link", "D009270", "D1"] == 6
    assert {kind for kind, _, _ in found.kinds} == {"right", "wrong link", "missed"}


def test_scores_have_precision_recall_and_each_type(root, tmp_path):
    def one_of_two(document):
        return Annotations(document.gold.mentions[:2])  # a chemical, and a disease

    found = record(root, tmp_path, "bc5cdr-chemical", one_of_two)
    assert (found["precision"], found["recall"], found["gold"]) == (100, pytest.approx(100 / 3), 18)
    names = ("value", "low", "high", "precision", "recall", "gold")
    assert found["types"] == [{"type": "chemical", **{name: found[name] for name in names}}]


class Made(BenchmarkSource):
    """A benchmark on documents of the test's own, as its corpus is not here."""

    def read(self):
        yield from self.made


def made(name, *documents):
    benchmark = benchmarks()[name]
    asked = benchmark.assignments({}, grammar=True, data_root=DataRoot("."))
    of = Made(benchmark, benchmark.split, ".", asked)
    for position, document in enumerate(documents):
        document.source, document.position = of.name, position
    object.__setattr__(of, "made", documents)
    return of


def with_texts(document_id, shown, **texts):
    document = Document(document_id, passages(shown))
    document.gold = Annotations(texts=[Text(task, text) for task, text in texts.items()])
    return document


@pytest.mark.parametrize(
    ("name", "shown", "task", "reference"),
    [
        (
            "translation",
            ("abstract", "zh", "早期拔管缩短住院时间。"),
            "mt:en",
            "It is shorter now.",
        ),
        (
            "translation-zh",
            ("abstract", "en", "It is shorter."),
            "mt:zh",
            "早期拔管缩短了住院时间。",
        ),
    ],
)
def test_translations_are_scored_as_sacrebleu_does(tmp_path, name, shown, task, reference):
    of = made(name, *(with_texts(f"d{n}", [shown], **{task: reference}) for n in range(3)))
    mine = reference[:-3]
    answered(tmp_path, of, lambda document: Annotations(texts=[Text(task, mine)]))
    bleu, chrf = score(of, str(tmp_path)).as_records(0)
    tokenize = "zh" if name.endswith("zh") else "13a"
    expected = BLEU(tokenize=tokenize).corpus_score([mine] * 3, [[reference] * 3])
    assert (bleu["metric"], bleu["value"]) == ("bleu", pytest.approx(expected.score))
    expected = CHRF().corpus_score([mine] * 3, [[reference] * 3])
    assert chrf["value"] == pytest.approx(expected.score)
    assert (bleu["ceiling"], chrf["ceiling"]) == (pytest.approx(100), 100)
    assert [one["type"] for one in bleu["types"]] == [task]
    assert "precision" not in bleu


def test_a_report_is_scored_by_its_sections(tmp_path):
    talk = [("patient", "zh", "孩子昨晚开始咳嗽。"), ("doctor", "zh", "考虑普通感冒。")]
    gold = {"report:chief_complaint": "咳嗽一天。", "report:diagnosis": "普通感冒。"}
    of = made("imcs-reports", with_texts("d0", talk, **gold))
    answered(
        tmp_path, of, lambda document: Annotations(texts=[Text("report:diagnosis", "普通感冒。")])
    )
    record, *_ = score(of, str(tmp_path)).as_records(0)
    assert {one["type"]: one["value"] for one in record["types"]} == {
        "report:chief_complaint": 0,
        "report:diagnosis": 100,
    }
    assert (record["value"], record["ceiling"]) == (50, 100)


@pytest.mark.parametrize(
    ("error", "share"),
    [
        ("cut_off", "cut"),
        ("repetition", "looping"),
        ("invalid", "invalid"),
        ("not_in_text", "not_in_the_text"),
        ("engine_error", "no_answer"),
    ],
)
def test_shares_of_bad_answers_stand_beside_the_score(root, tmp_path, error, share):
    found = record(root, tmp_path, "bc5cdr-chemical", gold_of, error=error)
    shares = ("cut", "looping", "invalid", "not_in_the_text", "no_answer")
    assert {name: found[name] for name in shares} == {
        **dict.fromkeys(shares, 0.0),
        share: 100.0,
    }


def test_documents_that_trained_the_model_are_counted(root, tmp_path):
    asked = source(root, "bc5cdr-chemical")
    answered(tmp_path / "out", asked, gold_of)
    documents = list(asked.read())
    one = document_keys(documents[0], None)  # all six have the same text
    by_pmid = document_keys(documents[1], documents[1].document_id)[1:]
    for keys, number in ((one, 6), (by_pmid, 1), ([7], 0)):
        trained = Trained.of({"some/train": np.array(keys, np.uint64)})
        (first, *_) = score(asked, str(tmp_path / "out"), None, trained).as_records(0)
        assert first["trained_on"] == number
    assert score(asked, str(tmp_path / "out")).as_records(0)[0]["trained_on"] is None


def published(scores: BenchmarkScores, **changed: object) -> list[tuple[object, str | None]]:
    """The published numbers of each metric with the note, where the entry says something else."""
    known = scores.benchmark.published
    assert known is not None
    known = known.model_copy(update={"digest": None, "by_count": None, **changed})
    scores.benchmark = scores.benchmark.model_copy(update={"published": known})
    return [(found["published"], found["published_note"]) for found in scores.as_records(0)]


def test_published_numbers_stand_only_beside_a_score_on_the_same_set(root, tmp_path):
    asked = source(root, "bc5cdr-chemical")
    answered(tmp_path / "out", asked, gold_of)
    found = score(asked, str(tmp_path / "out"))
    few = "the published numbers are of 500 documents, these of 6"
    assert published(found, digest=found.digest, documents=(500,)) == [(None, few)] * 2
    strict, string = published(found, digest=found.digest, documents=(6,))
    assert strict == (None, "the published numbers count as string_f1 does")
    assert string[0]["Taiyi 2"] == 90.2
    assert string[1] is None
    other = "the published numbers are of other documents, or of other gold"
    assert published(found, digest="0123", documents=(6,)) == [(None, other)] * 2
    _, taken = published(found, by_count="there is one test split", documents=(6,))
    assert taken == (string[0], "there is one test split")
    never = published(found, not_comparable="they are of sentences", documents=(6,))
    assert never == [(None, "they are of sentences")] * 2
    found.split = "dev"
    _, of_dev = published(found, not_comparable=None, digest=found.digest, documents=(6,))
    assert of_dev == (None, "the published numbers are of the test split")


def test_a_set_is_known_by_texts_and_gold_in_any_order_and_not_by_ids_or_offsets(root, tmp_path):
    file = root / "CDR_TestSet.PubTator.txt"
    text = file.read_text()

    def digest(changed: str) -> str:
        file.write_text(changed)
        out = tmp_path / hashlib.sha256(changed.encode()).hexdigest()
        asked = source(root, "bc5cdr-chemical")
        answered(out, asked, gold_of)
        return score(asked, str(out)).digest

    before = digest(text)
    first, *rest = text.rstrip("\n").split("\n\n")
    assert digest("\n\n".join([*rest, first.replace("100", "555")]) + "\n\n") == before
    assert digest(text.replace("Naloxone helped.", "Naloxone  helped.")) == before
    assert digest(text.replace("Naloxone helped.", "Naloxone failed.", 1)) != before
    assert digest(text.replace("100\t31\t40\tClonidine\tChemical\tD003000\n", "")) != before
    # What this benchmark does not ask for is not its gold.
    assert digest(text.replace("100\t64\t72\tsedation\tDisease\tD000077227\n", "")) == before


def test_annotations_below_the_threshold_of_their_type_do_not_count(root, tmp_path):
    def sure_of_the_first(document):
        chemicals = [m for m in document.gold.mentions if m.type == "chemical"]
        wrong = Mention(9, "chemical", "reverses", 9, 17, score=0.25)
        return Annotations([*(replace(m, score=0.75) for m in chemicals), wrong])

    asked = source(root, "bc5cdr-chemical")
    answered(tmp_path / "out", asked, sure_of_the_first)
    without = score(asked, str(tmp_path / "out"))
    assert without.as_records(0)[0]["value"] == pytest.approx(600 / 7)
    assert len(without.scored) == 24
    with_them = score(asked, str(tmp_path / "out"), {"chemical": 0.5})
    assert with_them.as_records(0)[0]["value"] == 100


def test_relations_are_scored_by_the_items_of_the_main_metric(root, tmp_path):
    def by_two_names(document):
        named = ("Clonidine", "CLONIDINE")  # one concept: the pair is there as long as one of them
        pairs = [(name, "hypotension", 0.25 + 0.5 * n) for n, name in enumerate(named)]
        pairs.append(("Clonidine", "sedation", 0.5))
        return Annotations(
            relations=[
                Relation(0, "chemical_induced_disease", head, tail, [], [], score=score)
                for head, tail, score in pairs
            ]
        )

    asked = source(root, "bc5cdr-cid")
    answered(tmp_path / "out", asked, by_two_names)
    found = score(asked, str(tmp_path / "out"))
    cid = "chemical_induced_disease"
    assert sorted(found.scored) == [(cid, 0.5, False)] * 6 + [(cid, 0.75, True)] * 6
    assert score(asked, str(tmp_path / "out"), {cid: 0.6}).as_records(0)[0]["value"] == 100


def test_strings_are_right_or_wrong_as_the_metric_compares_them():
    def of(head, score):
        return Annotations(relations=[Relation(0, "cid", head, "gout", [], [], score=score)])

    found = _scored(METRICS["string_f1"], of("lung cancer", 0.5), of("lung\ncancer", None))
    assert list(found) == [("cid", 0.5, True)]


def test_the_scores_of_links_are_those_of_the_concepts(root, tmp_path):
    def first_is_wrong_and_unsure(document):
        first, *rest = document.gold.mentions
        wrong = replace(first, concept=Concept("", "D1", score=0.25))
        sure = [replace(m, concept=replace(m.concept, score=0.75)) for m in rest]
        return Annotations([wrong, *sure])

    asked = source(root, "bc5cdr-concepts", split="dev")
    answered(tmp_path / "out", asked, first_is_wrong_and_unsure)
    found = score(asked, str(tmp_path / "out"))
    assert sorted(found.scored) == [("concept", 0.25, False)] * 6 + [("concept", 0.75, True)] * 30
    assert _best_thresholds([found]) == {"bc5cdr-concepts": {"concept": 0.75}}
    above = score(asked, str(tmp_path / "out"), {"concept": 0.75})
    assert above.as_records(0)[0]["precision"] == 100


def test_labels_that_were_not_asked_for_do_not_count(root, tmp_path):
    def more(document):
        return Annotations(labels=[*document.gold.labels, Label("qa", "yes"), Label("tc", "天气")])

    assert record(root, tmp_path, "kuake-qic", more)["value"] == 100


def test_a_document_that_cannot_be_read_is_counted_and_not_scored(root, tmp_path):
    with (root / "KUAKE-QIC_dev.json").open("r+") as file:
        text = file.read().replace('"query": "体检多少钱"', '"query": 3', 1)
        file.seek(0)
        file.write(text)
        file.truncate()
    asked = source(root, "kuake-qic")
    answered(tmp_path / "out", asked, gold_of)
    found = score(asked, str(tmp_path / "out"))
    assert (found.unreadable, len(found.documents)) == (1, 3)
    assert found.as_records(0)[0]["value"] == 100


def test_rows_of_other_documents_are_refused(root, tmp_path):
    asked = source(root, "bc5cdr-chemical")
    answered(tmp_path / "out", asked, gold_of)
    text = (root / "CDR_TestSet.PubTator.txt").read_text()
    (root / "CDR_TestSet.PubTator.txt").write_text(text.replace("103", "999"))
    with pytest.raises(ConfigError, match="the rows of bc5cdr-chemical/test are not those of its"):
        score(asked, str(tmp_path / "out"))


def test_the_table_of_counts_has_each_document_by_metric_and_type(root, tmp_path):
    asked = source(root, "bc5cdr-chemical")
    answered(tmp_path / "out", asked, gold_of)
    table = counts_table([score(asked, str(tmp_path / "out"))])
    assert table.schema.equals(COUNTS)
    rows = table.to_pylist()
    assert [(row["metric"], row["type"], row["position"], row["sums"]) for row in rows[:2]] == [
        ("strict_f1", "chemical", 0, [3.0, 0.0, 0.0]),
        ("string_f1", "chemical", 0, [2.0, 0.0, 0.0]),
    ]
    assert len(rows) == 12
    pq.write_table(table, tmp_path / "counts.parquet")
