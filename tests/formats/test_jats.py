"""JATS: which passages an article becomes, what is left out, and how a file can be broken."""

from __future__ import annotations

import pytest

from taiyi_ray.formats import jats
from taiyi_ray.records import Document
from tests.formats.annotated import check_contracts, read

FRONT = """<front><journal-meta><journal-title-group><journal-title>J of X</journal-title>
</journal-title-group><issn>1234-5678</issn></journal-meta><article-meta>
<article-id pub-id-type="pmid">11</article-id><article-id pub-id-type="pmc">22</article-id>
<article-id pub-id-type="doi">10.1/x</article-id>
<title-group><article-title>The <italic>TP53</italic> gene<xref ref-type="fn"><sup>1</sup></xref>
in 🧬</article-title>
<trans-title-group xml:lang="zh"><trans-title>基因</trans-title></trans-title-group></title-group>
<contrib-group><contrib><name><surname>Author</surname></name></contrib></contrib-group>
<pub-date pub-type="ppub"><month>3</month><year>2020</year></pub-date>
<pub-date pub-type="epub"><day>7</day><month>12</month><year>2019</year></pub-date>
<permissions><copyright-statement>(c) X</copyright-statement>
<license xlink:href="https://creativecommons.org/licenses/by/4.0/"><p>CC</p></license></permissions>
<abstract><sec><title>Aim</title><p>To know.</p></sec></abstract>
<trans-abstract xml:lang="zh"><p>目的。</p></trans-abstract>
<kwd-group><kwd>one</kwd><kwd>two</kwd></kwd-group></article-meta></front>"""


def article(body: str, back: str = "", front: str = FRONT, attributes: str = "") -> str:
    return (
        '<?xml version="1.0"?><!DOCTYPE article PUBLIC "-//NLM//DTD JATS//EN" "x.dtd">\n'
        '<article xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'xmlns:mml="http://www.w3.org/1998/Math/MathML" article-type="research" {attributes}>'
        f"{front}<body>{body}</body><back>{back}</back></article>"
    )


def only(data: str) -> Document:
    (document,) = read(jats.FORMAT, data)
    check_contracts(document)
    return document


def parts(body: str, back: str = "") -> list[tuple[str, str]]:
    """Type and text of the passages behind the front matter."""
    front = FRONT[: FRONT.index("<abstract>")] + "</article-meta></front>"
    return [(p.type, p.text) for p in only(article(body, back, front)).passages[2:]]


def test_front_matter() -> None:
    document = only(article(""))
    assert [(p.type, p.language, p.text) for p in document.passages] == [
        ("title", "en", "The TP53 gene in 🧬"),
        ("translated_title", "zh", "基因"),
        ("heading", "en", "Aim"),
        ("abstract", "en", "To know."),
        ("abstract", "zh", "目的。"),
    ]
    assert (document.document_id, document.title) == ("11", "The TP53 gene in 🧬")
    assert document.metadata == {
        "journal": "J of X",
        "issn": "1234-5678",
        "date": "2019-12-07",
        "year": "2019",
        "doi": "10.1/x",
        "pmid": "11",
        "pmc": "PMC22",
        "article_type": "research",
        "keywords": "one; two",
        "licence": "https://creativecommons.org/licenses/by/4.0/",
        "copyright": "(c) X",
    }


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ('<article-id pub-id-type="pmcid">PMC5</article-id>', "PMC5"),
        ('<article-id pub-id-type="doi">10.1/y</article-id>', "10.1/y"),
        ("", "a"),  # the name of the file
    ],
)
def test_the_id_is_the_best_there_is(ids: str, expected: str) -> None:
    front = f"<front><article-meta>{ids}</article-meta></front>"
    assert only(article("<p>x</p>", front=front)).document_id == expected


@pytest.mark.parametrize(
    ("section", "type_"),
    [
        ("<sec><title>1. Introduction</title><p>x</p></sec>", "introduction"),
        ("<sec><title>Patients and Methods</title><p>x</p></sec>", "methods"),
        ('<sec sec-type="methods"><title>What we did</title><p>x</p></sec>', "methods"),
        ('<sec sec-type="materials|methods"><p>x</p></sec>', "methods"),
        ("<sec><title>RESULTS:</title><p>x</p></sec>", "results"),
        ("<sec><title>Results and discussion</title><p>x</p></sec>", "results and discussion"),
        (
            "<sec><title>Discussion</title><sec><title>Results</title><p>x</p></sec></sec>",
            "discussion",
        ),
        ("<p>x</p>", "text"),
    ],
)
def test_types_of_sections(section: str, type_: str) -> None:
    assert parts(section)[-1] == (type_, "x")


def test_floats_lists_and_notes_stand_for_themselves() -> None:
    body = """<sec><title>Results</title><p>Before
    <table-wrap><label>Table 1</label><caption><title>Rates.</title><p>All of them.</p></caption>
    <alternatives><graphic/><table><thead><tr><th>A</th><th>B</th></tr></thead>
    <tbody><tr><td>1<xref ref-type="table-fn"><sup>a</sup></xref></td><td/></tr></tbody></table>
    </alternatives><table-wrap-foot><fn><label>a</label><p>A note.</p></fn></table-wrap-foot>
    </table-wrap>and after<fn><p>Foot.</p></fn>.
    <list><list-item><p>First</p></list-item><list-item><p>Second</p></list-item></list></p>
    <fig><label>Figure 1</label><caption><p>A figure.</p></caption><graphic/></fig></sec>"""
    assert parts(body) == [
        ("heading", "Results"),
        ("results", "Before and after."),
        ("table_caption", "Table 1 Rates. All of them."),
        ("table", "A\tB\n1\t"),
        ("footnote", "A note."),
        ("footnote", "Foot."),
        ("results", "First"),
        ("results", "Second"),
        ("figure", "Figure 1 A figure."),
    ]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (
            "p53<sup><xref ref-type='bibr'>1</xref>,<xref ref-type='bibr'>2</xref></sup> is",
            "p53 is",
        ),
        ("p53<xref ref-type='bibr'><sup>1</sup></xref> is", "p53 is"),
        ("p53 [<xref ref-type='bibr'>1</xref>] is", "p53 [1] is"),
        ("10<sup>3</sup> H<sub>2</sub>O", "103 H2O"),
        ("see <xref ref-type='fig'>Figure 1</xref>", "see Figure 1"),
        ("a<break/>b", "a b"),
        ("<![CDATA[a < b]]><!-- no --><?no no?>", "a < b"),
        (
            "if <inline-formula><alternatives><tex-math>\\x</tex-math><mml:math><mml:mi>x</mml:mi>"
            "<mml:mo>=</mml:mo><mml:mn>2</mml:mn></mml:math></alternatives></inline-formula> then",
            "if x=2 then",
        ),
    ],
)
def test_text(markup: str, text: str) -> None:
    assert parts(f"<p>{markup}</p>") == [("text", text)]


def test_back_matter_without_references() -> None:
    back = """<ack><p>We thank.</p></ack><fn-group><fn><p>None declared.</p></fn></fn-group>
    <app-group><app><title>Appendix</title><p>More.</p></app></app-group>
    <ref-list><title>References</title><ref><mixed-citation>Cited</mixed-citation></ref></ref-list>"""
    assert parts("", back) == [
        ("acknowledgements", "We thank."),
        ("footnote", "None declared."),
        ("heading", "Appendix"),
        ("text", "More."),
    ]


def test_several_articles_also_in_namespaces() -> None:
    one = article("<p>x</p>").partition("\n")[2]
    data = f"<pmc-articleset>{one}{one}</pmc-articleset>"
    assert [d.document_id for d in read(jats.FORMAT, data)] == ["11", "11"]
    named = one.replace("<article ", '<article xmlns="https://jats.nlm.nih.gov/ns/archiving/1.3/" ')
    data = (
        '<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><GetRecord><metadata>'
        f"{named}</metadata></GetRecord></OAI-PMH>"
    )
    (document,) = read(jats.FORMAT, data)
    assert (document.title, document.passages[-1].text) == ("The TP53 gene in 🧬", "x")


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        ("", ["empty"]),
        ("<html/>", ["not_jats"]),
        (article("<p>x</p>")[:-20], ["truncated"]),
        (article("<p>x</q>"), ["malformed"]),
        (article("<p>&nbsp;</p>"), ["malformed"]),
        (article("", front=""), ["no_front"]),
    ],
)
def test_broken_files(data: str, kinds: list[str]) -> None:
    assert [d.errors[0].kind for d in read(jats.FORMAT, data)] == kinds
