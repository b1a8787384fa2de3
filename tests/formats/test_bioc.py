"""BioC in XML and JSON: the same documents from both, broken ones, what `bioc` reads of ours."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from bioc import biocjson, biocxml
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray.formats import bioc, bioc_json, bioc_xml, json_lines, pubtator
from taiyi_ray.formats.format import Format
from taiyi_ray.records import (
    Annotations,
    Argument,
    Concept,
    Document,
    Event,
    Mention,
    Passage,
    Relation,
    Span,
)
from tests.formats.annotated import DAY, annotated, check_contracts, read, written

RECORD: dict[str, Any] = {
    "id": "7",
    "infons": {"journal": "J", "year": "2020"},
    "passages": [
        {
            "offset": 0,
            "infons": {"type": "title", "doi": "10.1/x"},
            "text": "TNF 🧬 α",
            "annotations": [
                {
                    "id": "1",
                    "infons": {"type": "Gene", "NCBI Gene": "7124"},
                    "text": "TNF",
                    "locations": [{"offset": 0, "length": 3}],
                }
            ],
        },
        {"offset": 8, "infons": {"type": "empty"}, "text": ""},
        {
            "offset": 108,
            "infons": {"section_type": "INTRO"},
            "sentences": [
                {"offset": 108, "text": "A one."},
                {
                    "offset": 116,
                    "text": "B two.",
                    "annotations": [
                        {
                            "id": "2",
                            "infons": {"type": "Disease", "identifier": "MESH:D1"},
                            "text": "A two",
                            "locations": [
                                {"offset": 108, "length": 1},
                                {"offset": 118, "length": 3},
                            ],
                        }
                    ],
                },
            ],
        },
    ],
    "relations": [
        {
            "id": "R1",
            "infons": {"type": "causes"},
            "nodes": [{"refid": "1", "role": "a"}, {"refid": "2", "role": "b"}],
        },
        {
            "id": "R2",
            "infons": {
                "type": "Association",
                "entity1": "7124",
                "entity2": "MESH:D1",
                "novel": "No",
            },
        },
        {
            "id": "R3",
            "infons": {"type": "Binding"},
            "nodes": [
                {"refid": "1", "role": "trigger"},
                {"refid": "2", "role": "Theme"},
                {"refid": "9", "role": "Theme"},
            ],
        },
        {"id": "R4"},
    ],
}


def xml(record: dict[str, Any]) -> str:
    """The record in XML, as the package `bioc` writes it."""
    whole = {"source": "", "date": "", "key": "", "infons": {}, "documents": [completed(record)]}
    return str(biocxml.dumps(biocjson.loads(json.dumps(whole))))


def completed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with all the keys that the package `bioc` wants."""
    lists = ("sentences", "annotations", "relations", "nodes", "locations")
    whole = dict(record)
    for key in ("infons", "text"):
        whole.setdefault(key, {} if key == "infons" else "")
    for key in lists:
        whole.setdefault(key, [])
    for key, value in whole.items():
        if key in (*lists, "passages"):
            whole[key] = [completed(item) for item in value]
    return whole


def collection(*records: object) -> str:
    return json.dumps({"source": "", "infons": {}, "documents": records}, ensure_ascii=False)


def test_passages_annotations_and_relations_from_both_forms() -> None:
    (document,) = read(bioc_json.FORMAT, collection(RECORD))
    check_contracts(document)
    assert document.passages == [
        Passage("title", "en", 0, "TNF 🧬 α"),
        Passage("INTRO", "en", 8, "A one.  B two."),
    ]
    assert document.title == "TNF 🧬 α"
    assert document.metadata == {"doi": "10.1/x", "journal": "J", "year": "2020"}
    gold = document.gold
    assert gold.mentions == [
        Mention(1, "Gene", "TNF", 0, 3, [], 0, "exact", None, Concept("NCBI Gene", "7124")),
        Mention(
            2, "Disease", "A two", 8, 21, [Span(8, 9), Span(18, 21)], 1, "exact", None,
            Concept("MESH", "D1"),
        ),
    ]  # fmt: skip
    assert gold.relations == [
        Relation(1, "causes", "TNF", "A two", [1], [2]),
        Relation(2, "Association", "TNF", "A two", [1], [2]),
    ]
    assert gold.events == [Event(3, "Binding", 1, [Argument("Theme", 2, "A two")])]
    assert [e.kind for e in document.errors] == ["gold_reference", "gold_left_out"]
    (line,) = read(json_lines.FORMAT, json.dumps(RECORD) + "\n")
    (from_xml,) = read(bioc_xml.FORMAT, xml(RECORD))
    assert line == from_xml == document


def test_offsets_from_the_passage_on_are_found() -> None:
    record = {
        "id": "1",
        "passages": [
            {"offset": 0, "text": "Title"},
            {
                "offset": 6,
                "text": "An abstract",
                "annotations": [
                    {"id": "a", "text": "Abstract", "locations": [{"offset": 3, "length": 8}]}
                ],
            },
        ],
    }
    (document,) = read(bioc_json.FORMAT, collection(record))
    (mention,) = document.gold.mentions
    assert (mention.start, mention.text, mention.grounded) == (9, "abstract", "folded")
    assert [e.kind for e in document.errors] == ["gold_moved"]


@pytest.mark.parametrize(
    "data",
    [
        collection(RECORD),
        json.dumps([json.loads(collection(RECORD))]),
        json.dumps({"PubTator3": [RECORD]}),
        json.dumps(RECORD),
    ],
)
def test_where_documents_are_found_in_json(data: str) -> None:
    (document,) = read(bioc_json.FORMAT, data)
    assert (document.document_id, document.status) == ("7", "ok")


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        (1, "invalid_record", "expected an object"),
        (["x"], "invalid_record", "expected an object"),
        ({"passages": []}, "no_document_id", "no id"),
        ({"id": "1", "passages": {}}, "invalid_record", "passages must be a list"),
        ({"id": "1", "passages": [1]}, "invalid_record", "passages[0] must be an object"),
        ({"id": "1", "passages": [{"text": "x"}]}, "invalid_record", "offset must be a whole"),
        ({"id": "1", "passages": [{"offset": -1}]}, "invalid_record", "offset"),
        ({"id": "1", "passages": [{"offset": 0, "text": 1}]}, "invalid_record", "text must be"),
        ({"id": "1", "passages": [], "infons": []}, None, None),
        ({"id": "1", "passages": [], "infons": ["x"]}, "invalid_record", "infons"),
    ],
)
def test_broken_documents_fail_alone(record: object, kind: str | None, words: str | None) -> None:
    found = read(bioc_json.FORMAT, collection(record, {"id": "2", "passages": []}))
    assert found[-1].document_id == "2"
    if kind:
        assert (found[0].status, found[0].errors[0].kind) == ("failed", kind)
        assert str(words) in found[0].errors[0].message


@pytest.mark.parametrize(
    ("format_", "data", "kinds"),
    [
        (bioc_json.FORMAT, "", ["truncated"]),
        (bioc_json.FORMAT, "{}", ["not_bioc"]),
        (bioc_json.FORMAT, "[1, 2]", ["not_bioc"]),
        (bioc_json.FORMAT, '{"documents": [{"id": "1"}, {"id": "2"', [None, "truncated"]),
        (bioc_json.FORMAT, '{"documents": [{"id": "1"}, nul]}', [None, "not_json"]),
        (bioc_json.FORMAT, '{"documents": [{"id": "1", "x": ' + "[" * 200, ["truncated"]),
        (bioc_json.FORMAT, '{"documents": [{"id": "1"}, {"id": "2"}', [None, None, "truncated"]),
        (bioc_json.FORMAT, "no JSON", ["not_json"]),
        (bioc_json.FORMAT, collection(RECORD) + " x", [None, "not_json"]),
        (bioc_xml.FORMAT, "", ["empty"]),
        (bioc_xml.FORMAT, "<html/>", ["not_bioc"]),
        (bioc_xml.FORMAT, "<collection><document><id>1</id></document>", [None, "truncated"]),
        (
            bioc_xml.FORMAT,
            "<collection><document><id>1</document><document><id>2</id></document></collection>",
            ["malformed", None],
        ),
        (
            bioc_xml.FORMAT,
            '<!DOCTYPE collection [<!ENTITY x SYSTEM "/etc/passwd">]>'
            "<collection><document><id>&x;</id></document></collection>",
            ["malformed"],
        ),
    ],
)
def test_broken_files(format_: Format, data: str, kinds: list[str | None]) -> None:
    found = read(format_, data)
    assert [d.errors[0].kind if d.status == "failed" else None for d in found] == kinds


LAYOUTS = {
    "one line": lambda docs: '{"documents": [' + ", ".join(docs) + '], "key": "a"}',
    "a line each": lambda docs: '{"documents": [\n' + ",\n".join(docs) + "\n]}\n",
    "indented": lambda docs: '{\n "documents": [\n  ' + ",\n  ".join(docs) + "\n ]\n}",
    "collections": lambda docs: '[{"documents": [' + ']},{"documents": ['.join(docs) + "]}]",
}


@pytest.mark.parametrize(
    "bad",
    [
        '{"id": "b", "x": nul}',
        '{"id": "b", "x": NaN}',
        '{"id": "b" "x": 1}',
        '{"id": "b", "x": [1,, 2]}',
        '{"id": "b", "x": 1,}',
        '{"id": "b", "x": "\\ud800"}',
        '{"id": "b", "x": "\\q"}',
        '{"id": "b", "x": "a \x01"}',
        '{"id": "b", "x": "a\nb"}',
        '{"id": "b", "x": "he said "no" twice"}',
        '{"id": "b", "x": ' + "[" * 600 + "]" * 600 + "}",
        '{"id": "b", "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"id": "b", "passages": [{"offset": ' + "9" * 5000 + "}]}",
        '{"id": "b", "x": ' + "9" * 5000 + "}",
        '{"id": "b", "passages": [{"offset": 0, "text": "x"]}',  # a bracket is missing
        '{"id": "b", "passages": [{"offset": 0, "text": "x"}}',
        '{"id": "b", "passages": []',
        '{"id": "b", "passages": []], "x": 1}',  # or too many
        "nul",
        '"}, {"',
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_wrong_with_one_document_hides_no_other(layout: str, bad: str) -> None:
    good = [json.dumps({"id": str(n), "passages": [{"offset": 0, "text": '{"]'}]}) for n in (1, 2)]
    data = LAYOUTS[layout]([good[0], bad, good[1]])
    if layout == "collections" and bad.count("{") > bad.count("}"):
        return  # what is open is closed by the collection's own brackets: they could be anybody's
    found = read(bioc_json.FORMAT, data)
    assert [d.document_id for d in found if d.status == "ok"] == ["1", "2"]
    assert [d.status for d in found] == ["ok", "failed", "ok"]


@pytest.mark.parametrize(
    "bad",
    [
        '{"id": "b", "passages": [{"offset": 0}}], "x": 1}',  # which bracket is too many?
        '{"id": "b", "x": "no end}',
        '{"id": "b", x": "no beginning"}',
        '{"id": "b"}}',
    ],
)
@pytest.mark.parametrize("layout", ["a line each", "indented"])
def test_lines_of_documents_are_found_behind_any_damage(layout: str, bad: str) -> None:
    good = [json.dumps({"id": str(n), "passages": []}) for n in (1, 2, 3)]
    data = LAYOUTS[layout]([good[0], bad, good[1], good[2]])
    found = read(bioc_json.FORMAT, data)
    good_ones = [d.document_id for d in found if d.status == "ok" and d.document_id != "b"]
    assert good_ones == ["1", "2", "3"]
    assert any(d.status == "failed" for d in found)


JSON = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('a"\\{}[],:\n 中')),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["documents", "passages", "}", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    documents=st.lists(JSON, max_size=4),
    around=st.dictionaries(st.sampled_from(["key", "infons"]), JSON),
    indent=st.sampled_from([None, 0, 2]),
    before=st.booleans(),
)
def test_every_item_of_the_list_is_a_record_however_it_is_laid_out(
    documents: list[object], around: dict[str, object], indent: int | None, before: bool
) -> None:
    one = {"documents": documents}
    data = json.dumps(around | one if before else one | around, indent=indent)
    records = list(bioc_json.scan(io.BytesIO(data.encode())))
    if documents:
        assert [record.fault for record in records] == [None] * len(documents)
        assert [json.loads(record.data) for record in records] == documents
    else:
        assert [record.fault for record in records] == ["not_bioc"]


def test_sentences_far_apart_do_not_become_a_text_of_blanks() -> None:
    sentences = [{"offset": at, "text": "A."} for at in (0, 5, 100_000_000)]
    record = {"id": "1", "passages": [{"offset": 0, "sentences": sentences[:2]}]}
    far = {"id": "2", "passages": [{"offset": 0, "sentences": sentences}]}
    near, failed = read(bioc_json.FORMAT, collection(record, far))
    assert near.text == "A.   A."
    assert (failed.status, failed.errors[0].kind) == ("failed", "too_large")
    (from_line,) = read(json_lines.FORMAT, json.dumps(far))
    (from_xml,) = read(bioc_xml.FORMAT, xml(far))
    assert from_line.errors[0].kind == from_xml.errors[0].kind == "too_large"


def test_infons_of_any_depth_are_metadata() -> None:
    deep = "[" * 100_000
    relation = {"id": "R", "infons": {"arguments": deep}, "nodes": [{"refid": "1", "role": "a"}]}
    record = {"id": "1", "infons": {"labels": deep, "texts": '[{"a": 1}]'}, "passages": []}
    (document,) = read(bioc_json.FORMAT, collection({**record, "relations": [relation]}))
    assert document.status == "ok"
    assert document.metadata == {"labels": deep, "texts": '[{"a": 1}]'}


def test_infons_of_one_key_are_joined() -> None:
    infons = "".join(f'<infon key="a">{n}</infon>' for n in range(5))
    data = f"<collection><document><id>1</id>{infons}</document></collection>"
    (document,) = read(bioc_xml.FORMAT, data)
    assert document.metadata == {"a": "0; 1; 2; 3; 4"}


def test_a_document_that_is_too_large_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bioc_json, "MAX_RECORD_BYTES", 200)
    large = {"id": "1", "passages": [{"offset": 0, "text": "x" * 300}]}
    one, two = read(bioc_json.FORMAT, collection(large, {"id": "2"}))
    assert (one.errors[0].kind, two.document_id) == ("too_large", "2")


def test_a_collection_of_any_size_takes_little_memory() -> None:
    record = {"id": "1", "passages": [{"offset": 0, "text": "word " * 1000}]}
    data = collection(*[record] * 2000)
    stream = io.BytesIO(data.encode())
    tracemalloc.start()
    assert sum(1 for _ in bioc_json.scan(stream)) == 2000
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < len(data) / 10


@settings(max_examples=60, deadline=None)
@given(one=annotated())
def test_the_package_bioc_reads_what_is_written(one: tuple[Document, Annotations]) -> None:
    document, annotations = one
    files, lost = written(bioc_json.FORMAT, [one, one])
    read_json = biocjson.loads(files[".json"].decode())
    files, lost = written(bioc_xml.FORMAT, [one, one])
    read_xml = biocxml.loads(files[".xml"].decode())
    for found in (read_json, read_xml):
        if lost and found is read_xml:
            continue
        assert len(found.documents) == 2
        theirs = found.documents[1]
        assert theirs.id == document.document_id
        assert [(p.offset, p.text) for p in theirs.passages] == [
            (p.offset, p.text) for p in document.passages
        ]
        listed = [a for holder in (*theirs.passages, theirs) for a in holder.annotations]
        assert sorted((a.id, a.text, len(a.locations)) for a in listed) == sorted(
            (str(m.id), m.text, len(m.spans) or (m.start is not None)) for m in annotations.mentions
        )
        for annotation in listed:
            if len(annotation.locations) == 1:
                (place,) = annotation.locations
                start, end = place.offset, place.offset + place.length
                assert document.text[start:end] == annotation.text
        assert len(theirs.relations) == len(annotations.relations) + len(annotations.events)


def test_files_of_the_package_s_own_tests(shared_data: Path) -> None:
    """everything.*: each element of the format; the JSON has lost nothing of the XML."""
    folder = shared_data / "bioc-samples"
    from_xml = read(bioc_xml.FORMAT, (folder / "everything.xml").read_bytes())
    assert read(bioc_json.FORMAT, (folder / "everything.json").read_bytes()) == from_xml
    first, second = from_xml
    assert second.text == "abcdefg测试Non-ASCII"
    assert [m.text for m in first.gold.mentions] == ["bc", "fg", "fg"]
    assert [m.text for m in second.gold.mentions] == ["bc", "测试"]
    assert [r.head_text for r in first.gold.relations] == ["bc", "bc"]
    assert second.gold.events[0].arguments == [Argument("role1", 3, "bc")]


KEYS = ["offset", "length", "type", "identifier", "refid", "role", "key"]

# As PubTator 3 writes its own files: a text with a variant, and relations of concepts that call it
# by some of its names. The one node of a relation refers to nothing (`refid` 0).
TITLE = "PON1 L55M in Covid-19 of mice."
L55M = "tmVar:p|SUB|L|55|M;HGVS:p.L55M;VariantGroup:1;CorrespondingGene:5444;RS#:854560"
SHORT = "RS#:854560;HGVS:p.L55M;CorrespondingGene:5444"
CONCEPTS = [
    (0, "PON1", "Gene", "5444"),
    (5, "L55M", "Variant", L55M),
    (13, "Covid-19", "Disease", "MESH:D000086382"),
    (25, "mice", "Species", "5444"),  # a number may be a gene's and a species'
]
RELATIONS = [
    ("Association", ("Disease", "MESH:D000086382"), ("Variant", SHORT), "0.9991"),
    ("Positive_Correlation", ("Gene", "5444"), ("Disease", "MESH:D000086382"), "0.5"),
]


def pubtator_3(form: str) -> Document:
    """The document in one of PubTator 3's three forms, read."""
    if form == "pubtator":
        lines = [f"7|t|{TITLE}", "7|a|"]
        lines += [f"7\t{at}\t{at + len(x)}\t{x}\t{t}\t{id_}" for at, x, t, id_ in CONCEPTS]
        lines += [f"7\t{type_}\t{one[1]}\t{other[1]}" for type_, one, other, _ in RELATIONS]
        (document,) = read(pubtator.FORMAT, "\n".join(lines) + "\n")
        return document
    annotations = [
        {"id": str(n), "infons": {"identifier": id_, "type": type_}, "text": text,
         "locations": [{"offset": at, "length": len(text)}]}
        for n, (at, text, type_, id_) in enumerate(CONCEPTS)
    ]  # fmt: skip

    def role(type_: str, identifier: str) -> Any:
        as_object = {"identifier": identifier, "type": type_, "valid": True, "normalized": [1]}
        return as_object if form == "json" else f"{type_}|{identifier}"

    relations = [
        {"id": f"R{n}", "nodes": [{"refid": "0", "role": "0,1"}],
         "infons": {"score": score, "role1": role(*one), "role2": role(*other), "type": type_}}
        for n, (type_, one, other, score) in enumerate(RELATIONS)
    ]  # fmt: skip
    passage = {"offset": 0, "infons": {"type": "title"}, "text": TITLE, "annotations": annotations}
    record = {"id": "7", "passages": [passage], "relations": relations}
    if form == "json":
        (document,) = read(bioc_json.FORMAT, json.dumps({"PubTator3": [record]}))
    else:
        (document,) = read(bioc_xml.FORMAT, xml(record))
    return document


@pytest.mark.parametrize("form", ["xml", "json", "pubtator"])
def test_relations_of_pubtator_3_are_of_the_mentions_of_their_concepts(form: str) -> None:
    document = pubtator_3(form)
    check_contracts(document)
    gold = document.gold
    genes = ["PON1", "mice"] if form == "pubtator" else ["PON1"]  # its lines say no types
    shown = {mention.id: mention.text for mention in gold.mentions}
    assert [
        (r.type, [shown[n] for n in r.head], [shown[n] for n in r.tail]) for r in gold.relations
    ] == [
        ("Association", ["Covid-19"], ["L55M"]),
        ("Positive_Correlation", genes, ["Covid-19"]),
    ]
    scores = [None, None] if form == "pubtator" else [0.9991, 0.5]
    assert [relation.score for relation in gold.relations] == scores
    assert (gold.events, document.errors) == ([], [])


def test_a_relation_of_a_concept_that_no_mention_has_is_told() -> None:
    roles = {"type": "t", "role1": "Gene|1", "role2": {"type": "Disease", "identifier": None}}
    record = {"id": "7", "passages": [], "relations": [{"id": "R1", "infons": roles, "nodes": []}]}
    (document,) = read(bioc_json.FORMAT, collection(record))
    assert (document.gold.relations, document.gold.events) == ([], [])
    (error,) = document.errors
    assert (error.kind, error.message) == (
        "gold_reference",
        "2 references name annotations that do not exist, as in 1",
    )


@pytest.mark.parametrize(
    ("roles", "ends"),
    [
        (("Arg2", "Arg1"), ("L55M", "PON1")),
        (("Arg1", "Arg2"), ("PON1", "L55M")),
        (("tail", "head"), ("L55M", "PON1")),
        (("Variant", "Gene"), ("PON1", "L55M")),
    ],
)
def test_the_roles_of_two_nodes_say_what_is_head_and_tail(roles: Any, ends: Any) -> None:
    annotations = [
        {"id": f"T{n}", "text": text, "locations": [{"offset": at, "length": 4}]}
        for n, (at, text, _, _) in enumerate(CONCEPTS[:2])
    ]
    nodes = [{"refid": f"T{n}", "role": role} for n, role in enumerate(roles)]
    record = {
        "id": "7",
        "passages": [{"offset": 0, "text": TITLE, "annotations": annotations}],
        "relations": [{"id": "R1", "infons": {"type": "t"}, "nodes": nodes}],
    }
    for document in (
        *read(bioc_json.FORMAT, collection(record)),
        *read(bioc_xml.FORMAT, xml(record)),
    ):
        (relation,) = document.gold.relations
        assert (relation.head_text, relation.tail_text) == ends


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ({"offset": -1, "length": 4}, "offset -1, length 4"),
        ({"offset": 0, "length": -4}, "offset 0, length -4"),
        ({"offset": 0, "length": 3.5}, "offset 0, length 3.5"),
        ({"offset": 0}, "offset 0, length nothing"),
        ({"offset": "", "length": "4"}, "offset nothing, length '4'"),
        ({"offset": "x", "length": "4"}, "offset 'x', length '4'"),
        ({"offset": [0], "length": True}, "offset no number, length True"),
        ({"offset": 0, "length": 1 << 40}, "offset 0, length 1099511627776"),
        ({}, "offset nothing, length nothing"),
    ],
)
def test_a_place_that_is_none_costs_the_mention_its_place_alone(location: Any, told: str) -> None:
    bad = {"id": "1", "text": "PON1", "locations": [{"offset": 0, "length": 1}, location]}
    good = {"id": "2", "text": "L55M", "locations": [{"offset": 5.0, "length": "4.0"}]}
    nodes = [{"refid": "1", "role": ""}, {"refid": "2", "role": ""}]
    record = {
        "id": "7",
        "passages": [{"offset": 0, "text": TITLE, "annotations": [bad, good]}],
        "relations": [{"id": "1", "nodes": nodes}],
    }
    (document,) = read(bioc_json.FORMAT, collection(record))
    check_contracts(document)
    assert (document.status, document.text) == ("ok", TITLE)
    assert [(m.text, m.start) for m in document.gold.mentions] == [("PON1", None), ("L55M", 5)]
    assert [(r.head, r.tail) for r in document.gold.relations] == [([1], [2])]
    (error,) = document.errors
    assert (error.kind, error.message) == (
        "gold_offsets",
        f"1 of 2 annotations are not at their offsets, as in 'PON1' at {told}",
    )


@pytest.mark.parametrize(
    "place",
    ['offset="-1" length="4"', 'offset="0"', 'offset="" length=""', 'offset="0.5" length="4"'],
)
def test_a_place_that_is_none_in_xml(place: str) -> None:
    (document,) = read(
        bioc_xml.FORMAT,
        f"<collection><document><id>7</id><passage><offset>0</offset><text>{TITLE}</text>"
        f"<annotation id='1'><location {place}/><text>PON1</text></annotation></passage>"
        "</document></collection>",
    )
    assert [(m.text, m.start) for m in document.gold.mentions] == [("PON1", None)]
    assert [error.kind for error in document.errors] == ["gold_offsets"]


@pytest.mark.parametrize(
    "bad",
    [
        {"annotations": "x"},
        {"annotations": [1, None]},
        {"annotations": [{"text": 1}]},
        {"annotations": [{"text": "x", "locations": {}}]},
        {"annotations": [{"text": "x", "infons": "x"}]},
        {"annotations": [{"text": "x", "locations": [1]}]},
        {"relations": {"id": "1"}},
        {"relations": [{"nodes": [1, 2]}]},
        {"relations": [{"nodes": 1, "infons": {"type": "x"}}]},
    ],
)
def test_an_annotation_or_relation_of_another_form_is_left_out_alone(bad: Any) -> None:
    good = {"id": "2", "text": "L55M", "locations": [{"offset": 5, "length": 4}]}
    passages = [{"offset": 0, "text": TITLE, "annotations": [good], **bad}]
    record = {"id": "7", "passages": passages, "annotations": [good | {"id": "3"}]}
    (document,) = read(bioc_json.FORMAT, collection(record))
    assert (document.status, document.text) == ("ok", TITLE)
    assert [error.kind for error in document.errors] == ["gold_left_out"]
    assert "that are not of the format" in document.errors[0].message
    assert document.gold.mentions[-1].text == "L55M"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 40), 1 << 40)
    | st.floats(-1e9, 1e9)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=6,
)
PLACE = st.fixed_dictionaries({}, optional={"offset": JSON, "length": JSON})
ROLES = st.dictionaries(st.sampled_from(["role1", "role2", "type", "score", "entity1"]), JSON)
ANNOTATION = st.fixed_dictionaries({"locations": st.lists(PLACE, max_size=2) | JSON},
                                   optional={"id": JSON, "text": st.just("PON1") | JSON,
                                             "infons": ROLES | JSON})  # fmt: skip
RELATION = st.fixed_dictionaries(
    {}, optional={"id": JSON, "infons": ROLES | JSON, "nodes": st.lists(ROLES, max_size=3) | JSON}
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANNOTATION | JSON, max_size=3), st.lists(RELATION | JSON, max_size=3))
def test_whatever_annotations_and_relations_are_the_document_is_read(annotations, relations):
    record = {
        "id": "7",
        "passages": [{"offset": 0, "text": TITLE, "annotations": annotations}],
        "relations": relations,
    }
    (document,) = read(bioc_json.FORMAT, collection(record))
    check_contracts(document)
    assert (document.status, document.text) == ("ok", TITLE)
    if annotations:
        told = sum(error.kind in ("gold_left_out", "gold_offsets") for error in document.errors)
        assert told or len(document.gold.mentions) == len(annotations)


def test_a_collection_says_of_which_day_it_is_and_what_describes_it() -> None:
    """Readers such as INCEpTION before 31.1 refuse a collection whose date or key is empty."""
    one = (Document("1"), Annotations())
    read_json = biocjson.loads(written(bioc_json.FORMAT, [one])[0][".json"].decode())
    read_xml = biocxml.loads(written(bioc_xml.FORMAT, [one])[0][".xml"].decode())
    for found in (read_json, read_xml):
        assert (found.source, found.date) == ("taiyi_ray", str(DAY))
        assert found.key == "taiyi_ray/docs/formats.md"
    _, _, inside = found.key.partition("/")
    assert "stands in infons" in (Path(__file__).parents[2] / inside).read_text(encoding="utf-8")


@pytest.mark.parametrize("passages", [10, 20])
def test_a_document_of_many_passages_is_written_in_linear_time(passages: int) -> None:
    mentions = [Mention(n, "x", "a", 2 * n, 2 * n + 1, passage=n) for n in range(passages)]
    document = Document("1", [Passage("p", "en", 2 * n, "a") for n in range(passages)])
    asked = 0

    def home(*arguments: Any) -> int | None:
        nonlocal asked
        asked += 1
        return found(*arguments)

    found = bioc._home
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bioc, "_home", home)
        values = bioc.values_of(document, Annotations(mentions))
    assert [[a["id"] for a in p["annotations"]] for p in values["passages"]] == [
        [str(n)] for n in range(passages)
    ]
    assert asked == passages
