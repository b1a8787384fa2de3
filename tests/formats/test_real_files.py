"""Every real file of these formats that lies beside some checkouts: counts, and what is off in it.

The counts are those of the folder's own notes; where ours differ, the line says why.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from lxml import etree

from taiyi_ray import storage
from taiyi_ray.formats import documents, named, recognised
from taiyi_ray.records import Document
from tests.formats.annotated import check_contracts


def read(path: Path) -> tuple[str, list[Document]]:
    with path.open("rb") as stream:
        format_ = recognised(str(path), stream)
        assert format_ is not None
        found = list(documents(stream, str(path), format_, "s", 0, 1 << 40, read=storage.read))
    for document in found:
        assert document.status == "ok", document.errors
        check_contracts(document)
    return format_.name, found


def mentions(found: list[Document]) -> int:
    return sum(len(document.gold.mentions) for document in found)


def relations(found: list[Document]) -> int:
    return sum(len(document.gold.relations) for document in found)


def places(found: list[Document]) -> Counter[str]:
    return Counter(m.grounded for document in found for m in document.gold.mentions)


def kinds(found: list[Document]) -> Counter[str]:
    return Counter(error.kind for document in found for error in document.errors)


@pytest.mark.parametrize(
    ("path", "format_", "expected"),
    [
        ("bioc-samples/annotated_text_BioC.xml", "bioc-xml", (3, 15, 0)),
        ("bioc-samples/annotated_text_PubTator.xml", "bioc-xml", (3, 34, 0)),
        ("bioc-samples/bioc_collection_0_0.xml", "bioc-xml", (1, 40, 0)),
        (
            "bioc-samples/everything.xml",
            "bioc-xml",
            (2, 5, 2),
        ),  # one relation of one node: an event
        ("bioc-samples/everything.json", "bioc-json", (2, 5, 2)),
        ("bioc-samples/everything.jsonl", "jsonl", (2, 4, 2)),
        ("bioc-samples/tmVar.Normalization.txt.gz", "pubtator", (158, 674, 0)),
        ("biored/Train.BioC.XML.gz", "bioc-xml", (400, 13351, 4178)),
        ("biored/Dev.BioC.XML.gz", "bioc-xml", (100, 3533, 1162)),
        ("biored/Dev.BioC.JSON.gz", "bioc-json", (100, 3533, 1162)),
        ("biored/BioRED_TrainDev.PubTator.gz", "pubtator", (500, 16884, 0)),
        ("bc5cdr/CDR_TrainingSet.PubTator.txt.gz", "pubtator", (500, 9385, 1038)),
        ("bc5cdr/CDR_DevelopmentSet.PubTator.txt.gz", "pubtator", (500, 9591, 1012)),
        ("bc5cdr/CDR_TestSet.PubTator.txt.gz", "pubtator", (500, 9809, 1066)),
        ("bc5cdr/CDR_sample.txt", "pubtator", (50, 925, 124)),
        ("ncbi-disease/NCBItrainset_corpus.txt.gz", "pubtator", (593, 5145, 0)),
        ("ncbi-disease/NCBIdevelopset_corpus.txt.gz", "pubtator", (100, 787, 0)),
        ("ncbi-disease/NCBItestset_corpus.txt.gz", "pubtator", (100, 960, 0)),
        ("pubtator-ner/GNormPlus_Train.PubTator.gz", "pubtator", (432, 5793, 0)),
        ("pubtator-ner/NLMgene_Train.PubTator.gz", "pubtator", (450, 13797, 0)),
        ("pubtator-ner/SPECIES_Train.PubTator.gz", "pubtator", (639, 3053, 0)),
        ("pubtator-ner/tmVar3_Train.PubTator.gz", "pubtator", (342, 7957, 0)),
        ("pubtator-ner/Linnaeus_Train.PubTator.gz", "pubtator", (80, 2321, 0)),
    ],
)
def test_counts(shared_data, path, format_, expected):
    name, found = read(shared_data / path)
    assert name == format_
    assert (len(found), mentions(found), relations(found)) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # 35 do not fit as they stand: all of two documents and some of a third are one off, one has
        # a wrong end; what is lost has blanks in it that the text has not.
        ("GNormPlus_Train", ({"exact": 5792, "none": 1}, {"gold_moved": 4, "gold_offsets": 1})),
        # 11 do not fit: ten of one document are seven off, one differs in case.
        ("NLMgene_Train", ({"exact": 13796, "folded": 1}, {"gold_moved": 1})),
        # 21 of one document do not fit: its text lost a character here and there.
        ("tmVar3_Train", ({"exact": 7957}, {"gold_moved": 1})),
    ],
)
def test_real_offsets_that_are_wrong(shared_data, path, expected):
    _, found = read(shared_data / "pubtator-ner" / f"{path}.PubTator.gz")
    assert (places(found), kinds(found)) == expected


def test_a_repeated_id_is_two_documents(shared_data):
    _, found = read(shared_data / "ncbi-disease" / "NCBItrainset_corpus.txt.gz")
    ids = Counter(document.document_id for document in found)
    assert [id_ for id_, times in ids.items() if times > 1] == ["8528200"]


def test_the_same_corpus_from_xml_and_json_is_equal(shared_data):
    one, two = (
        {d.document_id: d for d in read(shared_data / "biored" / f"Dev.BioC.{form}.gz")[1]}
        for form in ("XML", "JSON")
    )
    assert one.keys() == two.keys()
    for id_, document in one.items():
        assert document.text == two[id_].text
        assert len(document.gold.mentions) == len(two[id_].gold.mentions)


def annotation_files(folder: Path, ending: str) -> list[Path]:
    return sorted(folder.rglob(f"*{ending}"))


def test_brat_in_one_file(shared_data):
    found = []
    for path in annotation_files(shared_data / "bionlp-st-2011-samples", ".ann"):
        name, (document,) = read(path)
        assert name == "brat"
        found.append(document)
    assert len(found) == 100
    assert mentions(found) == 2698
    assert sum(len(document.gold.events) for document in found) == 653
    # 44 R and 88 Equiv lines, three of these of three mentions.
    assert relations(found) == 44 + 88 + 3
    assert places(found) == {"exact": 2698}
    left_out = "; ".join(e.message for d in found for e in d.errors if e.kind == "gold_left_out")
    assert sum(map(int, re.findall(r"(\d+) attributes", left_out))) == 226 + 50


@pytest.mark.parametrize(("form", "events"), [("full", 594), ("binary", 819)])
def test_brat_in_two_files(shared_data, form, events):
    found = [
        read(path)[1][0]
        for path in annotation_files(shared_data / "seedev-2016" / f"{form}_dev", ".a1")
    ]
    assert len(found) == 19
    assert mentions(found) == 1607
    assert sum(len(document.gold.events) for document in found) == events
    assert all(event.trigger is None for d in found for event in d.gold.events)
    assert places(found)["none"] == 0
    assert sum(bool(m.spans) for d in found for m in d.gold.mentions) == 89


@pytest.mark.parametrize(
    "name", ["1471-2180-11-174", "1472-6831-8-11", "6605965a", "pntd.0002065", "pone.0000217"]
)
def test_full_texts(shared_data, name):
    """Each heading, table and caption of a figure is a passage, no reference is."""
    path = shared_data / "pmc-jats" / f"{name}.nxml.gz"
    format_, (document,) = read(path)
    assert format_ == "jats"
    root = etree.parse(str(path), etree.XMLParser(resolve_entities=False, no_network=True))
    types = Counter(passage.type for passage in document.passages)
    article = root.getroot()
    assert types["title"] == 1
    assert types["abstract"] >= 1
    for found, element in (
        ("figure", "fig"),
        ("table_caption", "table-wrap"),
        ("table", "table-wrap//table"),
    ):
        assert types[found] == len(article.findall(f".//{element}")), found
    assert types["heading"] >= len(article.findall("body//sec/title"))
    assert {"methods", "discussion"} <= types.keys()
    assert document.document_id == document.metadata["pmid"]
    assert document.metadata["journal"]
    assert document.metadata["year"].isdecimal()
    words = " ".join(document.text.split())
    for paragraph in article.findall("body//sec/p"):
        if not len(paragraph):
            assert " ".join((paragraph.text or "").split()) in words
    reference = article.find(".//ref-list//article-title")
    assert reference is not None
    assert " ".join(reference.itertext()) not in document.text


# ---------------------------------------------------------------------- formats chosen by name

TSV = {"delimiter": "\t", "quotes": False, "header": False}
CHOSEN = {"text": "text", "mention": "mention_data.mention", "start": "mention_data.offset"}
PAIR = {"fields": {"text_1": "2", "text_2": "3"}, "labels": {"similarity": "1"}}
CLASS = {"fields": {"text": "2"}, "labels": {"tc": "1"}}
TERM = {"fields": {"term": "原始词", "concept": "标准词"}, "separator": "##"}
EXAM = {"question": "question", "choices": "options"}
SECTIONS = {"fields": {"dialogue": "dialogue"}, "texts": {"summary": "section_text"}}
MARKED = {
    "layout": "lines",
    "fields": {"text": "text", "relation": "label"},
    "marks": [["<< ", " >>"], ["[[ ", " ]]"]],
}


def read_by_name(path: Path, format_: str, options: dict[str, object]) -> list[Document]:
    with path.open("rb") as stream:
        found = list(
            documents(
                stream, str(path), named(format_, options), "s", 0, 1 << 40, read=storage.read
            )
        )
    for document in found:
        assert document.status == "ok", document.errors
        check_contracts(document)
    return found


def counts(found: list[Document]) -> tuple[int, int, int, int, int]:
    """Documents, mentions, relations, labels and texts."""
    labels, texts = (sum(len(getattr(d.gold, what)) for d in found) for what in ("labels", "texts"))
    return len(found), mentions(found), relations(found), labels, texts


@pytest.mark.parametrize(
    ("path", "format_", "options", "expected"),
    [
        ("ncbi-disease/conll/devel", "conll", {"record": "sentence"}, (923, 787, 0, 0, 0)),
        ("iob-corpora/JNLPBA/devel", "conll", {"blanks": "tidy"}, (200, 4551, 0, 0, 0)),
        (
            "iob-corpora/BioNLP13CG-IOB/devel",
            "conll",
            {"record": "sentence"},
            (1003, 3616, 0, 0, 0),
        ),
        ("cblue/CMeEE_V1_dev_first1000", "cblue", {"form": "mentions"}, (1000, 4144, 0, 0, 0)),
        ("cmeee-v2/CMeEE-V2_dev_first2500", "cblue", {"form": "mentions"}, (2500, 12662, 0, 0, 0)),
        # The 5,333 triples name 7,437 different surfaces, which stand at 8,456 places.
        (
            "cblue/CMeIE_dev_first1800",
            "cblue",
            {"form": "triples", "layout": "lines"},
            (1800, 8456, 5333, 0, 0),
        ),
        ("cblue/CHIP-STS_dev", "cblue", {"form": "pair"}, (4000, 0, 0, 4000, 0)),
        ("cblue/KUAKE-QTR_dev", "cblue", {"form": "pair"}, (2913, 0, 0, 2913, 0)),
        ("cblue/KUAKE-QQR_dev", "cblue", {"form": "pair"}, (1600, 0, 0, 1600, 0)),
        ("cblue/KUAKE-QIC_dev", "cblue", {"form": "class"}, (1955, 0, 0, 1955, 0)),
        ("cblue/CHIP-CTC_dev", "cblue", {"form": "class"}, (7682, 0, 0, 7682, 0)),
        ("cblue/CHIP-CDN_dev", "cblue", {"form": "terms"}, (2000, 3529, 0, 0, 0)),
        (
            "chineseblue/cMedQANER/dev",
            "json",
            {"layout": "lines", "fields": {**CHOSEN, "type": "mention_data.type"}},
            (175, 1035, 0, 0, 0),
        ),
        (
            "chineseblue/cEHRNER/dev",
            "json",
            {"layout": "lines", "fields": {**CHOSEN, "type": "mention_data.label"}},
            (44, 749, 0, 0, 0),
        ),
        ("chineseblue/cMedTC/dev", "delimited", {**TSV, **CLASS}, (1550, 0, 0, 1550, 0)),
        ("chineseblue/cMedQQ/dev", "delimited", {**TSV, **PAIR}, (1793, 0, 0, 1793, 0)),
        (
            "chineseblue/cMedQA/dev_first2000",
            "delimited",
            {**TSV, **PAIR, "quotes": True},
            (2000, 0, 0, 2000, 0),
        ),
        (
            "chip-cdn/imcs_symptom_dev",
            "delimited",
            {"delimiter": "\t", "quotes": False, **TERM},
            (1626, 1626, 0, 0, 0),
        ),
        ("chip-cdn/operation_dev", "delimited", {"delimiter": "\t", **TERM}, (1000, 1063, 0, 0, 0)),
        ("mts-dialog/MTS-Dialog-ValidationSet", "delimited", SECTIONS, (100, 0, 0, 0, 100)),
        (
            "meqsum/MeQSum_ACL2019_BenAbacha_Demner-Fushman",
            "xlsx",
            {"fields": {"text": "CHQ"}, "texts": {"summary": "Summary"}},
            (1000, 0, 0, 0, 1000),
        ),
        ("chemprot-sentences/dev", "json", MARKED, (2427, 4854, 2427, 0, 0)),
        ("chemprot-sentences/dev", "json", {**MARKED, "merge": True}, (911, 3132, 2427, 0, 0)),
        (
            "pubmedqa/ori_pqal",
            "json",
            {
                "layout": "keys",
                "fields": {"question": "QUESTION", "text": "CONTEXTS"},
                "labels": {"qa": "final_decision"},
                "texts": {"qa": "LONG_ANSWER"},
            },
            (1000, 0, 0, 1000, 1000),
        ),
        (
            "medqa-usmle/phrases_no_exclude_test",
            "json",
            {"layout": "lines", "fields": EXAM, "labels": {"qa": "answer_idx"}},
            (1273, 0, 0, 1273, 0),
        ),
        (
            "medmcqa/dev_first1500",
            "json",
            {
                "layout": "lines",
                "fields": {"question": "question", "choices": ["opa", "opb", "opc", "opd"]},
                "labels": {"qa": "cop"},
                "answer": "from_1",
            },
            (1500, 0, 0, 1500, 0),
        ),
        (
            "cmb-clin/CMB-test-qa",
            "json",
            {
                "fields": {"text": "description", "question": "QA_pairs.question"},
                "texts": {"qa": "QA_pairs.answer"},
            },
            (74, 0, 0, 0, 208),
        ),
        # 11 of yes-or-no questions in each file have a label beside their text.
        ("bioasq-golden/7B1_golden", "bioasq", {}, (100, 0, 0, 29, 100)),
        ("bioasq-golden/11B1_golden", "bioasq", {}, (73, 0, 0, 24, 73)),
        (
            "taiyi-example/Taiyi_Instruction_Data_Example",
            "instructions",
            {"form": "taiyi"},
            (21, 0, 0, 0, 21),
        ),
        ("promptcblue-toy/dev", "instructions", {"form": "promptcblue"}, (80, 0, 0, 0, 80)),
        ("promptcblue-toy/test", "instructions", {"form": "promptcblue"}, (80, 0, 0, 0, 0)),
        (
            "huatuo-literature/llama_data_first3000",
            "instructions",
            {"form": "alpaca"},
            (3000, 0, 0, 0, 3000),
        ),
        ("mediqa2019/MEDIQA2019-Task2-RQE-TestSet-wLabels", "mediqa", {}, (230, 0, 0, 230, 0)),
        ("mediqa2019/MEDIQA2019-Task3-QA-ValidationSet", "mediqa", {}, (25, 0, 0, 0, 25)),
        ("craft-coref-3/mondo/16507151", "knowtator", {"texts": ".."}, (1, 77, 0, 0, 0)),
        ("craft-coref-3/chebi/16507151", "knowtator", {"texts": ".."}, (1, 16, 0, 0, 0)),
    ],
)
def test_counts_by_name(shared_data, path, format_, options, expected):
    folder, _, stem = path.rpartition("/")
    (file,) = (shared_data / folder).glob(f"{stem}.*")
    found = read_by_name(file, format_, options)
    assert counts(found) == expected
    assert {"gold_left_out", "gold_reference", "gold_tags", "gold_offsets"}.isdisjoint(kinds(found))


def test_real_chains_of_coreference(shared_data):
    """11597317 has 63 chains of 354 members (368 triples less 14 of appositives)."""
    (document,) = read_by_name(
        shared_data / "craft-coref-3" / "coref" / "11597317.xml.gz", "knowtator", {"texts": ".."}
    )
    types = Counter(relation.type for relation in document.gold.relations)
    assert types == {"coreference": 354 - 63, "APPOS Head": 7, "APPOS Attributes": 7}
    assert places([document]) == {"exact": 385}


def test_real_turns_of_dialogues(shared_data):
    lines = shared_data / "dxy-dialogue" / "dxy_dialog_data_dialog_v2.txt.gz"
    options = {"fields": {"dialogue": "dialog"}, "turns": ["patient", "doctor"]}
    parts = [
        read_by_name(
            lines, "python-literals", {**options, "prefix": prefix, "last_turn": "dialogue"}
        )
        for prefix in ("train@", "test@")
    ]
    assert [len(part) for part in parts] == [423, 104]
    assert all(len(d.gold.texts) == 1 for part in parts for d in part)
    turns = "dialogue-content"
    found = read_by_name(
        shared_data / "chineseblue" / "CMDD" / "dev_0_to_149.jsonl.gz",
        "json",
        {
            "layout": "lines",
            "fields": {
                "dialogue": f"{turns}.sentence",
                "speaker": f"{turns}.speaker",
                "tags": f"{turns}.label",
                "type": f"{turns}.type",
                "concept": f"{turns}.normalized",
            },
        },
    )
    assert sum(len(d.passages) for d in found) == 5964 - 38  # without the empty ones
    assert (mentions(found), kinds(found)) == (2051, {"gold_tags": 2})
    assert all(m.concept for d in found for m in d.gold.mentions)


def test_a_real_archive_of_drugs_that_interact(shared_data):
    """1,017 files: 18,491 entities, of which 49 are in parts, and 5,000 pairs that interact."""
    found = []
    with zipfile.ZipFile(shared_data / "ddi-2013" / "DDICorpus-2013.zip") as archive:
        for name in archive.namelist():
            if name.endswith(".xml"):
                stream = io.BytesIO(archive.read(name))
                found += documents(stream, name, named("relations-xml"), "s", 0, 9)
    assert counts(found) == (1017, 18491, 5000, 0, 0)
    assert places(found)["none"] == 0
    assert sum(bool(m.spans) for d in found for m in d.gold.mentions) == 49
    assert kinds(found) == {"gold_moved": 1}
