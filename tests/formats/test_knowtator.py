"""Knowtator's XML of both versions, beside a text."""

from __future__ import annotations

from io import BytesIO

import pytest

from taiyi_ray.formats import documents, named
from taiyi_ray.records import Concept, Document, Span
from tests.formats.annotated import check_contracts, read

TEXT = "BRCA2 in DNA repair: it is a gene.\nBRCA2 again"


def one(data: str, text: str = TEXT, **options: str) -> Document:
    (document,) = read(named("knowtator", options), data, "a.xml", txt=text.encode())
    check_contracts(document)
    return document


def annotation(key: str, class_: str, *spans: tuple[int, int], label: str = "") -> str:
    stated = "".join(
        f'<span id="{key}-{start}" start="{start}" end="{end}">{TEXT[start:end]}</span>'
        for start, end in spans
    )
    return f'<annotation id="{key}"><class id="{class_}" label="{label}"/>{stated}</annotation>'


def project(*inner: str) -> str:
    return f'<knowtator-project><document id="12">{"".join(inner)}</document></knowtator-project>'


def graph(*triples: tuple[str, str, str]) -> str:
    keys = {key for subject, _, object_ in triples for key in (subject, object_)}
    vertices = "".join(f'<vertex id="v{key}" annotation="{key}"/>' for key in sorted(keys))
    edges = "".join(
        f'<triple id="t{n}" subject="v{s}" property="{p}" object="v{o}"/>'
        for n, (s, p, o) in enumerate(triples)
    )
    return f"<graph-space>{vertices}{edges}</graph-space>"


def test_a_class_of_an_ontology_is_a_concept() -> None:
    mondo = annotation("a", "http://purl.obolibrary.org/obo/MONDO_0007254", (9, 12), label="'x y'")
    document = one(project(mondo, annotation("b", "PR:1", (0, 5))), type="entity")
    found = [(m.type, m.text, m.concept) for m in document.gold.mentions]
    assert document.document_id == "12"
    assert found == [
        ("entity", "DNA", Concept("MONDO", "0007254", "x y")),
        ("entity", "BRCA2", Concept("PR", "1", None)),
    ]


def test_without_an_option_the_class_is_the_type() -> None:
    document = one(
        project(annotation("a", "NP", (0, 5), label="Noun Phrase"), annotation("b", "X", (9, 12)))
    )
    assert [(m.type, m.concept) for m in document.gold.mentions] == [
        ("Noun Phrase", None),
        ("X", None),
    ]


def test_a_chain_is_relations_between_each_mention_and_the_next() -> None:
    inner = [
        annotation("c", "IDENTITY chain", (0, 5)),
        annotation("m3", "NP", (35, 40)),
        annotation("m1", "NP", (0, 5)),
        annotation("m2", "NP", (21, 23)),
        annotation("d", "IDENTITY chain", (9, 12)),
        annotation("m4", "NP", (9, 12)),
        graph(
            ("c", "Coreferring strings", "m3"),
            ("c", "Coreferring strings", "m1"),
            ("c", "Coreferring strings", "m2"),
            ("d", "Coreferring strings", "m4"),
            ("m4", "APPOS Head", "m1"),
        ),
    ]
    document = one(project(*inner))
    text = {m.id: (m.text, m.start) for m in document.gold.mentions}
    assert sorted(text.values()) == [("BRCA2", 0), ("BRCA2", 35), ("DNA", 9), ("it", 21)]
    chain = [r for r in document.gold.relations if r.type == "coreference"]
    ends = [(text[r.head[0]][1], text[r.tail[0]][1]) for r in chain]
    assert ends == [(0, 21), (21, 35)]
    assert [r.type for r in document.gold.relations if r not in chain] == ["APPOS Head"]
    assert [e.message for e in document.errors] == ["1 chains of fewer than two mentions"]


def test_a_mention_in_two_parts() -> None:
    document = one(project(annotation("a", "NP", (13, 19), (0, 5))))
    (mention,) = document.gold.mentions
    assert (mention.text, mention.spans) == ("BRCA2 repair", [Span(0, 5), Span(13, 19)])


def test_version_1_joins_annotations_and_classes_by_their_ids() -> None:
    data = """<annotations textSource="11597317.txt">
      <annotation><mention id="m1"/><span start="0" end="5"/>
        <spannedText>BRCA2</spannedText></annotation><annotation>
      <mention id="m2"/><span start="9" end="12"/><span start="13" end="19"/>
        <spannedText>DNA ... repair</spannedText></annotation>
      <annotation><mention id="m3"/><span start="0" end="3"/>
        <spannedText>other</spannedText></annotation>
      <classMention id="m2"><mentionClass id="GO:0006281">DNA repair</mentionClass></classMention>
      <classMention id="m1"><mentionClass id="PR:1">tnf</mentionClass></classMention>
      </annotations>"""
    document = one(data)
    found = [(m.type, m.text, m.start, m.concept) for m in document.gold.mentions]
    assert document.document_id == "11597317"
    assert found == [
        ("tnf", "BRCA2", 0, Concept("PR", "1", "tnf")),
        ("DNA repair", "DNA repair", 9, Concept("GO", "0006281", "DNA repair")),
        (None, "other", None, None),
    ]
    assert [e.kind for e in document.errors] == ["gold_offsets"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("", "malformed"),
        ("<a/>", "not_knowtator"),
        ("<knowtator-project/>", "malformed"),
        ("<annotations>", "malformed"),
    ],
)
def test_a_broken_file_says_why(data: str, kind: str) -> None:
    document = one(data)
    assert (document.status, document.errors[0].kind) == ("failed", kind)


def test_a_text_that_is_missing_is_told_and_one_in_another_folder_found() -> None:
    (document,) = read(named("knowtator"), project(), "a.xml")
    assert document.errors[0].kind == "no_text"
    files = {"x/txt/a.txt": TEXT.encode()}
    (document,) = documents(
        BytesIO(project().encode()), "x/coref/a.xml", named("knowtator", {"texts": "../txt"}),
        "s", 0, 9, read=files.get,
    )  # fmt: skip
    assert document.text == TEXT
