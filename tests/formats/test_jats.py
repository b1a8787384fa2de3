"""JATS: which passages an article becomes, what is left out, and how a file can be broken."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from taiyi_ray.formats import jats
from taiyi_ray.formats.jats_text import ELEMENTS, Around, Content
from taiyi_ray.formats.xml_elements import Element
from taiyi_ray.records import Document
from tests.formats.annotated import check_contracts, read
from tests.test_work import calls

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
        ("如<xref ref-type='bibr'><sup>1</sup></xref>所示", "如所示"),
        ("fever<xref ref-type='bibr'><sup>1</sup></xref>Patients", "fever Patients"),
        ("by <xref ref-type='bibr'>Smith<sup>1</sup></xref>, who", "by Smith, who"),
        (
            "see <inline-supplementary-material>Table S1</inline-supplementary-material>.",
            "see Table S1.",
        ),
        (
            "the mean<disp-formula><label>(1)</label><tex-math>x</tex-math></disp-formula>of all",
            "the mean of all",
        ),
        (
            "is<disp-formula><mml:math><mml:mi>x</mml:mi></mml:math></disp-formula>, where",
            "is x, where",
        ),
        ("as,<inline-formula><mml:math><mml:mi>∂t</mml:mi></mml:math></inline-formula>", "as, ∂t"),
        ("CD4<xref ref-type='fn'><sup>a</sup></xref>+ (<foo>T</foo>) cells", "CD4+ (T) cells"),
        (
            "one<index-term><term>x</term></index-term>two<graphic><alt-text>y</alt-text></graphic>",
            "one two",
        ),
        (
            "<tp:taxon-name xmlns:tp='x'><tp:g>Aus</tp:g><tp:s>bus</tp:s></tp:taxon-name>, x",
            "Aus bus, x",
        ),
        (
            "the <abbrev>WHO<def><p>World Health</p><p>Org</p></def></abbrev> said",
            "the WHO: World Health Org said",
        ),
        ("<ruby><rb>漢字</rb><rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>です", "漢字です"),
        (
            "by <element-citation><name><surname>Li</surname><given-names>A</given-names></name>"
            "<name><surname>Wu</surname><given-names>B</given-names></name><year>2010</year>"
            "</element-citation>.",
            "by Li A Wu B 2010.",
        ),
        (
            "by <mixed-citation><name><surname>Li</surname> <given-names>A</given-names></name>, "
            "<source>J X</source> <volume>3</volume>(<issue>2</issue>)</mixed-citation>.",
            "by Li A, J X 3(2).",
        ),
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


TABLE = "<table><tr><td>T</td></tr></table>"


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        (
            f"See Table 1.<table-wrap><caption><p>C</p></caption>{TABLE}</table-wrap>Patients had",
            [("text", "See Table 1. Patients had"), ("table_caption", "C"), ("table", "T")],
        ),
        (f"One{TABLE}sentence", [("text", "One sentence"), ("table", "T")]),
        (
            "fever<fn><label>1</label><p>N.</p><p>M.</p></fn>cough",
            [("text", "fever cough"), ("footnote", "N. M.")],
        ),
        (
            "a<boxed-text><caption><title>B</title></caption><p>x</p></boxed-text>b",
            [("text", "a b"), ("heading", "B"), ("text", "x")],
        ),
        (
            "a<media><label>Video 1</label><caption><p>x</p></caption></media>b",
            [("text", "a b"), ("supplement", "Video 1 x")],
        ),
        (
            "a<array><tbody><tr><td>1</td><td>2</td></tr></tbody></array>b",
            [("text", "a b"), ("table", "1\t2")],
        ),
        (
            "a<list><list-item><p>x</p></list-item><list-item>y</list-item></list>b",
            [("text", t) for t in "axyb"],
        ),
        ("a<disp-quote><p>x</p><attrib>y</attrib></disp-quote>b", [("text", t) for t in "axyb"]),
        ("a<disp-quote>x</disp-quote>b", [("text", t) for t in "axb"]),
        ("a<speech><speaker>x</speaker><p>y</p></speech>b", [("text", t) for t in "axyb"]),
        (
            "a<statement><title>x</title><p>y</p></statement>b",
            [("text", "a"), ("heading", "x"), ("text", "y"), ("text", "b")],
        ),
        ("a<code>x  y</code>b", [("text", "a"), ("text", "x y"), ("text", "b")]),
        (
            "a<verse-group><verse-line>x</verse-line><verse-line>y</verse-line></verse-group>b",
            [("text", "a"), ("text", "x y"), ("text", "b")],
        ),
        (
            "a<def-list><term-head>S</term-head><def-item><term>x</term><def><p>y</p></def>"
            "<def><p>z</p></def></def-item><def-item><term>w</term></def-item></def-list>b",
            [("text", "a"), ("heading", "S"), ("text", "x: y: z"), ("text", "w"), ("text", "b")],
        ),
    ],
)
def test_what_stands_in_a_sentence(paragraph: str, expected: list[tuple[str, str]]) -> None:
    assert parts(f"<p>{paragraph}</p>") == expected


INNER = (
    "<list><list-item><p>a</p></list-item><list-item><p>b</p></list-item></list>"
    "<disp-quote><p>c</p></disp-quote><def-list><def-item><term>d</term><def><p>e</p></def>"
    "</def-item></def-list><verse-group><verse-line>f</verse-line><verse-line>g</verse-line>"
    "</verse-group>"
)


@pytest.mark.parametrize(
    ("holder", "expected"),
    [
        (
            "<table-wrap><table><tr><td>x{}</td><td>y</td></tr></table></table-wrap>",
            [("table", "x a b c d: e f g\ty")],
        ),
        (
            "<fig><label>1</label><caption><p>x{}</p></caption></fig>",
            [("figure", "1 x a b c d: e f g")],
        ),
        ("<fn-group><fn><p>x{}</p></fn></fn-group>", [("footnote", "x a b c d: e f g")]),
        (
            "<table-wrap><table-wrap-foot><p>x</p><fn-group><fn><p>y{}</p></fn></fn-group></table-wrap-foot></table-wrap>",
            [("footnote", "x"), ("footnote", "y a b c d: e f g")],
        ),
        (
            "<def-list><def-item><term>x</term><def><p>y{}</p></def></def-item></def-list>",
            [("text", "x: y a b c d: e f g")],
        ),
        (
            "<table><tr><td>x<fn><p>y</p></fn><fig><label>1</label></fig>z</td></tr></table>",
            [("table", "x z"), ("footnote", "y"), ("figure", "1")],
        ),
    ],
)
def test_nothing_vanishes_in_cells_captions_notes_and_definitions(
    holder: str, expected: list[tuple[str, str]]
) -> None:
    assert parts(holder.replace("{}", INNER)) == expected


@pytest.mark.parametrize(
    "table",
    [
        "<table><thead><tr><th>A</th><th/></tr></thead>"
        "<tbody><tr><td>1</td><td>2</td></tr></tbody></table>",
        "<table><tr> <td>A</td> <td/> </tr> <tr><td/></tr>\n"
        "<tr> <td>1</td> <td>2</td></tr></table>",
        "<o:table xmlns:o='x'><o:tgroup><o:thead><o:row><o:entry>A</o:entry><o:entry/></o:row>"
        "</o:thead><o:tbody><o:row><o:entry>1</o:entry><o:entry>2</o:entry></o:row></o:tbody>"
        "</o:tgroup></o:table>",
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "<sec>{}</sec>", "<table-wrap>{}</table-wrap>", "<p>{}</p>"]
)
def test_a_table_is_read_wherever_it_stands(table: str, around: str) -> None:
    assert parts(around.format(table)) == [("table", "A\t\n1\t2")]


def test_of_several_forms_of_one_thing_the_first_is_read() -> None:
    forms = "<alternatives><graphic><alt-text>no</alt-text></graphic><textual-form>a</textual-form>"
    forms += "<textual-form>no</textual-form></alternatives>"
    assert parts(f"<p>x <inline-formula>{forms}</inline-formula> y</p>") == [("text", "x a y")]


def test_titles_have_subtitles_and_notes() -> None:
    titles = """<title-group><article-title>One<fn><p>Note.</p></fn></article-title>
    <subtitle>Two</subtitle><trans-title-group xml:lang="zh"><trans-title>一</trans-title>
    <trans-subtitle>二</trans-subtitle></trans-title-group><alt-title>No</alt-title></title-group>"""
    front = f"<front><article-meta>{titles}</article-meta></front>"
    document = only(article("", front=front))
    assert document.title == "One"
    assert [(p.type, p.language, p.text) for p in document.passages] == [
        ("title", "en", "One"),
        ("footnote", "en", "Note."),
        ("subtitle", "en", "Two"),
        ("translated_title", "zh", "一"),
        ("translated_subtitle", "zh", "二"),
    ]


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
        (article("<p>&b;</p>").replace('"x.dtd"', '"x.dtd" [<!ENTITY b "x">]'), ["malformed"]),
        (article("<bold>" * 10_000 + "x" + "</bold>" * 10_000), ["malformed"]),
        (article("<sec>" * 300 + "<p>x</p>" + "</sec>" * 300), ["malformed"]),
        (article("", front=""), ["no_front"]),
    ],
)
def test_broken_files(data: str, kinds: list[str]) -> None:
    assert [d.errors[0].kind for d in read(jats.FORMAT, data)] == kinds


# ------------------------------------------------------------------------------- the whole tag set

# What JATS Archiving 1.4 allows below titles, abstracts, body and back matter, but for MathML and
# for what is in elements that are not read.
TAG_SET = """
abbrev abstract access-date ack addr-line address aff aff-alternatives alt-text alt-title
alternatives annotation anonymous answer answer-set app app-group array article-title attrib
author-comment award-desc award-id award-name back bio block-alternatives body bold boxed-text break
caption chapter-title chem-struct chem-struct-wrap citation-alternatives city code col colgroup
collab collab-alternatives collab-name collab-name-alternatives collab-wrap comment compound-kwd
compound-kwd-part compound-subject compound-subject-part conf-acronym conf-date conf-loc conf-name
conf-sponsor contrib contrib-group contrib-id country custom-meta-group data-title date
date-in-citation day def def-head def-item def-list degrees disp-formula disp-formula-group
disp-quote edition element-citation elocation-id email era etal explanation ext-link fax fig
fig-group fixed-case floats-group fn fn-group fpage funding-source given-names glossary glyph-data
glyph-ref gov graphic hr index-term index-term-range-end inline-formula inline-graphic inline-media
inline-supplementary-material institution institution-id institution-wrap isbn issn issn-l issue
issue-id issue-part issue-title italic journal-id kwd kwd-group legend list list-item long-desc
lpage math media milestone-end milestone-start mixed-citation monospace month name name-alternatives
named-content nested-kwd nlm-citation notes object-id on-behalf-of open-access option overline
overline-end overline-start p page-count page-range part-title patent permissions person-group phone
postal-code prefix preformat private-char pub-id publisher-loc publisher-name question
question-preamble question-wrap question-wrap-group rb ref-list related-article related-object role
roman rp rt ruby sans-serif sc season sec sec-meta series sig sig-block size source speaker speech
state statement std std-organization strike string-date string-name styled-content sub subj-group
subject subtitle suffix sup supplement supplementary-material support-source surname table
table-wrap table-wrap-foot table-wrap-group target tbody td term term-head tex-math textual-form
tfoot th thead time-stamp title tr trans-abstract trans-source trans-subtitle trans-title underline
underline-end underline-start unstructured-kwd-group uri verse-group verse-line version volume
volume-id volume-series x xref year
"""


def test_every_element_of_the_tag_set_is_decided() -> None:
    assert set(TAG_SET.split()) <= ELEMENTS.keys()


class Expected:
    """What the passages of a tree must hold, by the table and by nothing of the walk.

    Attributes:
        scopes: the words of the body, and those of each element that stands apart, in order.
        met: pairs of words with no border between them, and pairs with one.
        unread: words that are in no passage.
    """

    def __init__(self, body: Element) -> None:
        self.scopes: list[list[str]] = [[]]
        self.met: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
        self.unread: list[str] = []
        self._border = False
        self._taken = 0
        self._of(body, Content.PARTS, captioned=False)

    def _of(self, element: Element, inside: Content, *, captioned: bool) -> None:
        before, answered = self._taken, False
        self._text(element.text, inside, before)
        for child in element:
            if answered:
                self.unread += words("".join(child.itertext()))
            else:
                start = self._taken
                self._child(child, inside is Content.PARTS and start > before, captioned)
                answered = inside is Content.ONE and self._taken > start
            self._text(child.tail, inside, before)

    def _child(self, child: Element, part: bool, captioned: bool) -> None:
        rule = ELEMENTS.get(str(child.tag))
        around, inside = (rule.around, rule.inside) if rule else (Around.SPACED, Content.TEXT)
        if child.tag == "caption" and captioned:
            around, inside = Around.FLOWS, Content.LINE
        apart = around is not Around.FLOWS
        self._border |= apart or part
        if around is Around.SKIPPED:
            self.unread += words("".join(child.itertext()))
        elif around is Around.APART:
            outer, self.scopes[0] = self.scopes[0], []
            self._of(child, inside, captioned=rule is not None and rule.captioned)
            self.scopes.append(self.scopes[0])
            self.scopes[0] = outer
        else:
            self._of(child, inside, captioned=rule is not None and rule.captioned)
        self._border |= apart

    def _text(self, text: str | None, inside: Content, before: int) -> None:
        for word in words(text or ""):
            border = self._border or (inside is Content.PARTS and self._taken > before)
            if scope := self.scopes[0]:
                self.met[border].append((scope[-1], word))
            scope.append(word)
            self._border = False
            self._taken += 1


def words(text: str) -> list[str]:
    return re.findall(r"w\d+w", text)


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """A body of any elements in any place, each text in it a word that is nowhere else."""
    body = etree.Element("body")
    holders, number = [body], 0
    name = st.sampled_from(sorted(ELEMENTS.keys() - {"math"}) + ["p", "bold", "unknown"] * 20)
    for _ in range(draw(st.integers(0, 25))):
        child = etree.SubElement(draw(st.sampled_from(holders)), draw(name))
        holders.append(child)
        for side in draw(st.sampled_from([("text",), ("text", "tail"), ("tail",), ()])):
            setattr(child, side, f"w{number}w")
            number += 1
    return etree.tostring(body, encoding="unicode")


@settings(max_examples=150, deadline=None)
@given(bodies())
def test_each_word_is_in_one_place_and_grows_into_no_other(body: str) -> None:
    expected = Expected(etree.fromstring(body))
    found = only(f"<article><front><article-meta/></front>{body}</article>").text
    read_ = [word for scope in expected.scopes for word in scope]
    assert Counter(words(found)) == Counter(read_)
    assert not set(words(found)) & set(expected.unread)
    for scope in expected.scopes:
        assert sorted(scope, key=found.index) == scope
    for one, two in expected.met[False]:
        assert one + two in found
    for one, two in expected.met[True]:
        assert one + two not in found


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("<table-wrap><table><tr><td>x", "</td></tr></table></table-wrap>"),
        ("<table><tr><td>x", "</td></tr></table>"),
        ("<p>x<fn><p>y", "</p></fn></p>"),
        ("<list><list-item><p>x", "</p></list-item></list>"),
        ("<alternatives><bold>x", "</bold></alternatives>"),
        ("<sup>x", "</sup>"),
        ("<math><mi>x", "</mi></math>"),
    ],
)
def test_work_and_text_grow_with_what_is_nested_in_one_another(begin: str, end: str) -> None:
    def nested(depth: int) -> tuple[int, int]:
        data = article(begin * depth + end * depth)
        text = only(data).text
        return calls(lambda: read(jats.FORMAT, data)), text.count("x")

    (work, found), (double_work, double_found) = nested(25), nested(50)
    assert (found, double_found) == (25, 50)
    assert double_work < 2.1 * work


def test_a_document_is_no_longer_than_its_file() -> None:
    data = article(
        "<table-wrap><table><tr><td>" * 60 + "x" * 10_000 + "</td></tr></table></table-wrap>" * 60
    )
    assert only(data).text.count("x") == 10_000
