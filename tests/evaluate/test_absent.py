"""The three test sets that are not here, read from made-up files of their published layout."""

from __future__ import annotations

import json

import pytest

from tests.catalogue.made import corpus
from tests.evaluate.made import answered, source

_BIOC = """\
<?xml version="1.0" encoding="UTF-8"?>
<collection><source>CHEMDNER</source><date></date><key></key><document><id>23020651</id>
<passage><infon key="type">title</infon><offset>0</offset><text>Effect of aspirin.</text>
<annotation id="1"><infon key="type">Chemical</infon><location offset="10" length="7"/>
<text>aspirin</text></annotation></passage>
<passage><infon key="type">abstract</infon><offset>19</offset><text>Ethanol had none.</text>
<annotation id="2"><infon key="type">Chemical</infon><location offset="19" length="7"/>
<text>Ethanol</text></annotation>
<annotation id="3"><infon key="identifier">MESH:D000431</infon>
<infon key="type">MeSH_Indexing_Chemical</infon></annotation></passage></document></collection>
"""
_LITCOVID = (
    "pmid,journal,title,abstract,keywords,pub_type,authors,doi,label\n"
    '1,J,A vaccine,"Doses, and their effect.",,,,,Prevention;Treatment\n'
    "2,J,A case,One patient coughed.,,,,,Case Report\n"
)
_MEDQA = {
    "question": "治疗高血压首选哪种药物？",
    "options": {"A": "氨氯地平", "B": "青霉素", "C": "胰岛素", "D": "肝素", "E": "阿托品"},
    "answer": "氨氯地平",
    "meta_info": "第一部分",
    "answer_idx": "A",
}


@pytest.mark.parametrize(
    ("name", "file", "content", "documents"),
    [
        ("chemdner", "BC7T2-CHEMDNER-corpus-evaluation.BioC.xml", _BIOC, 1),
        ("litcovid", "BC7-LitCovid-Test-GS.csv", _LITCOVID, 2),
        ("medqa-mcmle", "questions/Mainland/test.jsonl", json.dumps(_MEDQA), 1),
    ],
)
def test_a_user_who_has_the_files_can_run_the_benchmark(tmp_path, name, file, content, documents):
    from taiyi_ray.evaluate.scoring import score

    asked = source(corpus(tmp_path / "corpora", {file: content}), name)
    answered(tmp_path / "out", asked, lambda document: document.gold)
    found = score(asked, str(tmp_path / "out")).as_records(0)
    assert {record["documents"] for record in found} == {documents}
    assert {record["value"] for record in found} == {100}
    assert {record["ceiling"] for record in found} == {100}


def test_what_the_three_hold_is_read_in_our_terms(tmp_path):
    files = {
        "BC7T2-CHEMDNER-corpus-evaluation.BioC.xml": _BIOC,
        "BC7-LitCovid-Test-GS.csv": _LITCOVID,
        "questions/Mainland/test.jsonl": json.dumps(_MEDQA),
    }
    root = corpus(tmp_path, files)
    (abstract,) = source(root, "chemdner").read()
    chemicals = [m.text for m in abstract.gold.mentions if m.type == "chemical"]
    assert (abstract.document_id, chemicals) == ("23020651", ["aspirin", "Ethanol"])
    article, _ = source(root, "litcovid").read()
    assert (article.document_id, article.title) == ("1", "A vaccine")
    assert [label.label for label in article.gold.labels] == ["Prevention", "Treatment"]
    (question,) = source(root, "medqa-mcmle").read()
    assert [passage.type for passage in question.passages] == ["question", *["choice"] * 5]
    assert [label.label for label in question.gold.labels] == ["A"]
