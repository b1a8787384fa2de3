"""PubMed XML: where records begin and end, what they say, and how a file can be broken."""

from __future__ import annotations

import codecs
import gzip
import io
import tracemalloc
import xml.etree.ElementTree as ElementTree
from encodings.aliases import aliases
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import documents, pubmed, raw_records, xml_scanner
from taiyi_ray.formats.format import RawRecord
from taiyi_ray.formats.pubmed_short import Short
from taiyi_ray.records import Document, Passage
from tests.test_work import calls

REAL = Path(__file__).parents[3] / "shared" / "data" / "pubmed-xml"
REAL_FILES = sorted(p for p in REAL.rglob("*") if p.name.endswith((".xml", ".xml.gz")))


def scan(data: bytes | str) -> list[RawRecord]:
    return list(pubmed.scan(io.BytesIO(data.encode() if isinstance(data, str) else data)))


def faults(data: bytes | str) -> list[str | None]:
    return [record.fault for record in scan(data)]


def article(pmid: str = "1", inside: str = "", behind: str = "", data: str = "") -> str:
    return (
        f'<PubmedArticle><MedlineCitation Status="MEDLINE"><PMID Version="1">{pmid}</PMID>'
        f"<Article>{inside}</Article>{behind}</MedlineCitation>"
        f"<PubmedData>{data}</PubmedData></PubmedArticle>"
    )


def file_of(*records: str, root: str = "PubmedArticleSet") -> str:
    return f'<?xml version="1.0"?>\n<{root}>\n' + "\n".join(records) + f"\n</{root}>\n"


def read(data: bytes | str, path: str = "a.xml") -> list[Document]:
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return list(documents(stream, path, pubmed.FORMAT, "a", 0, 1 << 40))


def only(data: bytes | str) -> Document:
    (document,) = read(data)
    return document


def title_of(markup: str) -> str | None:
    document = only(file_of(article(inside=f"<ArticleTitle>{markup}</ArticleTitle>")))
    assert document.errors == []
    return document.title


def ids(data: bytes | str) -> list[tuple[str | None, str]]:
    return [(d.document_id, d.status) for d in read(data)]


def error_of(record: str) -> str:
    with pytest.raises(FormatError) as caught:
        pubmed.parse(RawRecord("PubmedArticle", record.encode()))
    return caught.value.kind


# ------------------------------------------------------------------------------- one whole record

WHOLE = file_of(
    """<PubmedArticle>
  <MedlineCitation Status="MEDLINE" Owner="NLM">
    <PMID Version="2">123</PMID>
    <Article PubModel="Print">
      <Journal>
        <ISSN IssnType="Print">0000-1111</ISSN>
        <JournalIssue CitedMedium="Print">
          <PubDate><Year>2008</Year><Month>Nov</Month><Day>5</Day></PubDate>
        </JournalIssue>
        <Title>Journal of\n          tests &amp; trials</Title>
        <ISOAbbreviation>J Tests</ISOAbbreviation>
      </Journal>
      <ArticleTitle>[&#x3b1;-Synuclein \U0001f9ec in <i>BRCA1</i>].</ArticleTitle>
      <ELocationID EIdType="doi" ValidYN="Y">10.1/own</ELocationID>
      <ELocationID EIdType="pii" ValidYN="N">wrong</ELocationID>
      <Abstract>
        <AbstractText Label="AIMS" NlmCategory="OBJECTIVE">Cafe\u0301 au lait.</AbstractText>
        <AbstractText Label="NOTHING"/>
        <AbstractText>5\u00a0mg of CO<sub>2</sub>.</AbstractText>
        <CopyrightInformation>Not text.</CopyrightInformation>
      </Abstract>
      <Language>chi</Language><Language>eng</Language>
      <PublicationTypeList>
        <PublicationType UI="D016428">Journal Article</PublicationType>
        <PublicationType UI="D016441">Retracted Publication</PublicationType>
      </PublicationTypeList>
      <VernacularTitle>突触核蛋白。</VernacularTitle>
    </Article>
    <MedlineJournalInfo><ISSNLinking>9</ISSNLinking></MedlineJournalInfo>
    <CommentsCorrectionsList>
      <CommentsCorrections RefType="Cites"><PMID Version="1">999</PMID></CommentsCorrections>
    </CommentsCorrectionsList>
    <MeshHeadingList>
      <MeshHeading>
        <DescriptorName UI="D1" MajorTopicYN="N">Hypertension</DescriptorName>
        <QualifierName UI="Q1" MajorTopicYN="Y">drug therapy</QualifierName>
        <QualifierName UI="Q2" MajorTopicYN="N">etiology</QualifierName>
      </MeshHeading>
      <MeshHeading><DescriptorName UI="D2" MajorTopicYN="Y">Humans</DescriptorName></MeshHeading>
    </MeshHeadingList>
    <OtherAbstract Type="Publisher" Language="chi">
      <AbstractText Label="目的">研究<b>BRCA1</b>基因。</AbstractText>
    </OtherAbstract>
    <OtherAbstract Type="Publisher" Language="haw">
      <AbstractText>Aloha.</AbstractText>
    </OtherAbstract>
    <KeywordList Owner="NOTNLM">
      <Keyword MajorTopicYN="N">pain,</Keyword><Keyword MajorTopicYN="N"/>
    </KeywordList>
    <KeywordList Owner="PIP"><Keyword MajorTopicYN="N">Asia</Keyword></KeywordList>
  </MedlineCitation>
  <PubmedData>
    <ArticleIdList>
      <ArticleId IdType="pubmed">123</ArticleId><ArticleId IdType="pmc">PMC7</ArticleId>
    </ArticleIdList>
    <ReferenceList><Reference><ArticleIdList>
      <ArticleId IdType="pubmed">888</ArticleId><ArticleId IdType="pii">cited</ArticleId>
    </ArticleIdList></Reference></ReferenceList>
  </PubmedData>
</PubmedArticle>"""
)


def test_a_whole_record() -> None:
    document = only(WHOLE)
    assert (document.document_id, document.version, document.language) == ("123", 2, "zh")
    assert document.title == "[α-Synuclein 🧬 in BRCA1]."
    assert document.passages == [
        Passage("title", "en", 0, "[α-Synuclein 🧬 in BRCA1]."),
        Passage("vernacular_title", "zh", 26, "突触核蛋白。"),
        Passage("AIMS", "en", 33, "Cafe\u0301 au lait."),
        Passage("abstract", "en", 48, "5\u00a0mg of CO2."),
        Passage("目的", "zh", 61, "研究BRCA1基因。"),
        Passage("other_abstract", "haw", 72, "Aloha."),
    ]
    assert document.metadata == {
        "journal": "Journal of tests & trials",
        "journal_abbreviation": "J Tests",
        "issn": "0000-1111",
        "date": "2008-11-05",
        "year": "2008",
        "doi": "10.1/own",
        "pmc": "PMC7",
        "publication_types": "Journal Article; Retracted Publication",
        "mesh": "Hypertension/*drug therapy/etiology; *Humans",
        "mesh_ids": "D1; D2",
        "keywords": "pain; Asia",
        "languages": "zh; en",
        "retracted": "true",
    }


def check_offsets(document: Document) -> None:
    for passage in document.passages:
        assert document.text[passage.offset : passage.end] == passage.text
        assert passage.text == passage.text.strip(" \t\r\n")


@pytest.mark.parametrize("change", [str.splitlines, lambda text: [text.replace("\n", "\r\n")]])
def test_layout_does_not_matter(change) -> None:  # type: ignore[no-untyped-def]
    changed = only(" ".join(change(WHOLE)))
    check_offsets(changed)
    assert (changed.passages, changed.metadata) == (only(WHOLE).passages, only(WHOLE).metadata)


def test_dates() -> None:
    def metadata(date: str) -> dict[str, str]:
        issue = f"<JournalIssue><PubDate>{date}</PubDate></JournalIssue>"
        return only(file_of(article(inside=f"<Journal>{issue}</Journal>"))).metadata

    free = "<MedlineDate>Winter 2008-2009</MedlineDate>"
    assert metadata(free) == {"date": "Winter 2008-2009", "year": "2008"}
    assert metadata("<Year>2008</Year>") == {"date": "2008", "year": "2008"}
    assert metadata("<Year>2008</Year><Month>3</Month>")["date"] == "2008-03"
    assert metadata("<Year>1976</Year><Season>Fall</Season>")["date"] == "1976"
    assert metadata("") == {}


def test_a_record_with_a_pmid_only() -> None:
    document = only(
        file_of("<PubmedArticle><MedlineCitation><PMID>7</PMID></MedlineCitation></PubmedArticle>")
    )
    assert document == Document("7", source="a")


def test_a_retraction_notice_marks_the_record() -> None:
    notice = '<CommentsCorrections RefType="RetractionIn"><PMID>5</PMID></CommentsCorrections>'
    behind = f"<CommentsCorrectionsList>{notice}</CommentsCorrectionsList>"
    assert only(file_of(article("4", behind=behind))).metadata == {"retracted": "true"}


def test_a_vernacular_title_alone() -> None:
    inside = "<ArticleTitle/><Language>fre</Language><VernacularTitle>Été.</VernacularTitle>"
    document = only(file_of(article(inside=inside)))
    assert document.title == "Été."
    assert document.passages == [Passage("vernacular_title", "fr", 0, "Été.")]


@pytest.mark.parametrize(
    "none",
    [
        *("[Not Available].", "[Not Available]", "Not Available", "[NOT AVAILABLE.]"),
        *("[In Process Citation]", "[In process citation]."),
    ],
)
def test_a_title_that_says_that_there_is_none_is_none(none: str) -> None:
    title, vernacular = f"<ArticleTitle>{none}</ArticleTitle>", "« HER2-faible »."
    found = f"{title}<Language>fre</Language><VernacularTitle>{vernacular}</VernacularTitle>"
    document = only(file_of(article(inside=found)))
    assert document.title == vernacular
    assert document.passages == [Passage("vernacular_title", "fr", 0, vernacular)]
    abstract = "<Abstract><AbstractText>About.</AbstractText></Abstract>"
    document = only(file_of(article(inside=title + abstract)))
    assert (document.title, document.text) == (None, "About.")
    book = f"<Book><BookTitle>Genes</BookTitle></Book>{found}"
    book = f"<BookDocument><PMID>20</PMID>{book}</BookDocument>"
    chapter = only(file_of(f"<PubmedBookArticle>{book}</PubmedBookArticle>"))
    assert (chapter.title, chapter.text, chapter.metadata["book"]) == (vernacular,) * 2 + ("Genes",)
    whole = only(file_of(f"<PubmedBookArticle>{book.replace('Genes', none)}</PubmedBookArticle>"))
    assert (whole.title, whole.text, whole.metadata) == (vernacular, vernacular, {})


@pytest.mark.parametrize(
    "title", ["[Vaccines are not available].", "Not available for all.", "[The citation process]"]
)
def test_a_title_of_such_words_is_a_title(title: str) -> None:
    inside = f"<ArticleTitle>{title}</ArticleTitle>"
    assert only(file_of(article(inside=inside))).title == title


def test_the_older_form_and_books() -> None:
    title = "<Article><ArticleTitle>T</ArticleTitle></Article>"
    citation = f"<MedlineCitation><PMID>3</PMID>{title}</MedlineCitation>"
    assert only(file_of(citation, root="MedlineCitationSet")).text == "T"
    book = """<PubmedBookArticle><BookDocument><PMID Version="1">20</PMID>
        <ArticleIdList><ArticleId IdType="bookaccession">NBK1</ArticleId></ArticleIdList>
        <Book><BookTitle book="gene">Genes</BookTitle><PubDate><Year>1993</Year></PubDate></Book>
        {}<Language>eng</Language><Abstract><AbstractText>About.</AbstractText></Abstract>
        <PublicationType>Review</PublicationType></BookDocument></PubmedBookArticle>"""
    whole = only(file_of(book.format("")))
    assert (whole.document_id, whole.text, whole.language) == ("20", "Genes\nAbout.", "en")
    assert whole.metadata == {
        "book": "Genes",
        "date": "1993",
        "year": "1993",
        "bookaccession": "NBK1",
        "publication_types": "Review",
    }
    chapter = only(file_of(book.format("<ArticleTitle>1p36</ArticleTitle>")))
    assert (chapter.title, chapter.metadata["book"]) == ("1p36", "Genes")


def test_deletions_are_not_citations() -> None:
    pmids = '<PMID Version="3">8</PMID><!-- <PMID>0</PMID> -->\n<PMID>9</PMID>'
    deleted = f"<DeleteCitation>\n{pmids}</DeleteCitation>"
    file = file_of(
        article("1"),
        deleted,
        "<DeleteDocument><PMID>10</PMID></DeleteDocument>",
        "<DeleteCitation/>",
    )
    assert ids(file) == [("1", "ok"), ("8", "deleted"), ("9", "deleted"), ("10", "deleted")]
    assert read(file)[1].version == 3


# --------------------------------------------------------------------------------- text and markup


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("H<sub>2</sub>O and 10<sup>-3</sup> M", "H2O and 10-3 M"),
        ("T<i>X</i>Y", "TXY"),
        ("<i>Bam</i>HI", "BamHI"),
        ("<i>p</i>53 and c<i>Myc</i>", "p53 and cMyc"),
        ("the<i>TERT</i>gene", "the TERT gene"),
        ("the<b><i>TERT</i></b>gene", "the TERT gene"),
        ("in<i>vivo</i>use", "invivouse"),  # could be one word: left as it is
        ("by<i>in vitro</i>tests", "by in vitro tests"),
        ("anti-<i>TERT</i>s", "anti-TERTs"),
        ("the<i>TERT</i> gene", "the TERT gene"),
        ("<i>TERT</i>", "TERT"),
        ("基因<i>TERT</i>突变", "基因TERT突变"),
        ("a <!-- b -->c<?d e?>f", "a cf"),
        ("<![CDATA[<b>&amp;]]>", "<b>&amp;"),
        ("5&#xa0;mg\u2003\u3000x&lt;y\t\n z ", "5\xa0mg\u2003\u3000x<y z"),
        ("one<br/>two<p>three</p>", "one two three"),
    ],
)
def test_inline_markup(markup: str, text: str) -> None:
    assert title_of(markup) == text


def math(inner: str) -> str:
    return f'<mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML">{inner}</mml:math>'


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        (
            "let\n "
            + math("\n <mml:mi>x</mml:mi>\n <mml:mo>=</mml:mo> <mml:mn>2</mml:mn>\n")
            + ".",
            "let x=2.",
        ),
        ("so" + math("<mml:mi>x</mml:mi>") + "is", "so x is"),
        (math("<mml:mi>x</mml:mi><mml:mtext> and </mml:mtext><mml:mi>y</mml:mi>"), "x and y"),
        (math("<mml:mn>2</mml:mn><mml:mi>m</mml:mi><mml:mi>a</mml:mi><mml:mi>x</mml:mi>"), "2max"),
        (math("<mml:mi>x</mml:mi><mml:annotation>\\x</mml:annotation>"), "x"),
        ("<DispFormula>" + math("<mml:mi>y</mml:mi>") + "</DispFormula>z", "y z"),
    ],
)
def test_formulas(markup: str, text: str) -> None:
    assert title_of(markup) == text


# ------------------------------------------------------------------------------ record boundaries

DECOYS = (
    "<!-- <PubmedArticle> </PubmedArticle> </PubmedArticleSet> -->",
    "<?x <PubmedArticle></PubmedArticle> ?>",
    "<![CDATA[ <PubmedArticle></PubmedArticle> ]]>",
)


@pytest.mark.parametrize("decoy", DECOYS)
def test_hidden_tags_are_not_tags(decoy: str) -> None:
    inside = f"<ArticleTitle>A{decoy}B</ArticleTitle>"
    kept = " <PubmedArticle></PubmedArticle> " if "CDATA" in decoy else ""
    file = file_of(decoy, article("1", inside), decoy, article("2"), decoy)
    assert ids(file) == [("1", "ok"), ("2", "ok")]
    assert read(file)[0].title == f"A{kept}B"


def test_a_document_type_with_an_internal_subset() -> None:
    subset = """<!DOCTYPE PubmedArticleSet [
      <!ENTITY drug "aspirin]><PubmedArticle>"> <!-- it's <PubmedArticle> --> <?x ]> ?>
    ]>"""
    file = file_of(article("1", "<ArticleTitle>x &drug;</ArticleTitle>"), article("2"))
    first, second = read(file.replace("?>", f"?>{subset}", 1))
    assert (first.status, first.errors[0].kind) == ("failed", "malformed")
    assert (second.document_id, second.status) == ("2", "ok")


def test_tags_with_blanks_and_attributes() -> None:
    file = "<PubmedArticleSet\n a='>'>" + article("1").replace(
        "<PubmedArticle>", '<PubmedArticle\n x="</PubmedArticle>" >'.replace("</", "")
    ).replace("</PubmedArticle>", "</PubmedArticle\n>")
    assert ids(file + article("2") + "</PubmedArticleSet >") == [("1", "ok"), ("2", "ok")]


def test_namespaces_of_the_root_hold_in_a_record() -> None:
    prefixed = file_of(
        article("1", "<ArticleTitle>a<m:math><m:mi>x</m:mi></m:math></ArticleTitle>")
    )
    prefixed = prefixed.replace("<PubmedArticleSet>", '<PubmedArticleSet xmlns:m="urn:m">')
    assert only(prefixed).title == "a x"
    default = WHOLE.replace("<PubmedArticleSet>", '<PubmedArticleSet xmlns="urn:p">')
    assert only(default) == only(WHOLE)


def test_a_record_as_root_and_files_one_after_another() -> None:
    assert ids(article("1")) == [("1", "ok")]
    assert ids("\ufeff" + file_of(article("1")) + "\ufeff" + file_of(article("2"))) == [
        ("1", "ok"),
        ("2", "ok"),
    ]


def test_an_empty_set_has_no_records() -> None:
    assert scan("<PubmedArticleSet/>") == scan(file_of()) == []


# ----------------------------------------------------------------------------------- broken files

BAD = "malformed"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ["empty"]),
        (b" \r\n", ["empty"]),
        (codecs.BOM_UTF8, ["empty"]),
        (b"PMID- 1\nTI  - Title\n", ["not_pubmed"]),
        (b"<!doctype html><html><body><PubmedArticle></html>", ["not_pubmed"]),
        (b"<html/>", ["not_pubmed"]),
        (
            b'<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]><lolz>&b;</lolz>',
            ["not_pubmed"],
        ),
        (b"<?xml version='1.0'?>", ["not_pubmed"]),
        (b"<!-- never closed", ["not_pubmed"]),
        (b"\x1f\x8b\x08\x00\xff\xff", ["not_pubmed"]),
        (b"<?xml version='1.0' encoding='klingon'?><PubmedArticleSet/>", ["encoding"]),
        (b"<?xml version='1.0' encoding='unicode_escape'?><PubmedArticleSet/>", ["encoding"]),
        (b"<?xml version='1.0' encoding='hex'?><PubmedArticleSet/>", ["encoding"]),
        (b"<PubmedArticleSet>", ["truncated"]),
        (b"<PubmedArticleSet></PubmedArticleSet> junk", ["malformed"]),
        (b"<PubmedArticleSet></PubmedArticle></PubmedArticleSet>", ["malformed"]),
        (b"<PubmedArticleSet><DeleteCitation><PMID>1</PMID></PubmedArticleSet>", [None, BAD]),
        (b"<PubmedArticleSet><DeleteCitation><PMID>1</DeleteCitation></PubmedArticleSet>", [BAD]),
    ],
)
def test_broken_files(data: bytes, expected: list[str | None]) -> None:
    assert faults(data) == expected


def test_an_end_without_the_roots_end_tag() -> None:
    whole = file_of(article("1"), article("2"))
    assert faults(whole[: whole.index("</PubmedArticleSet")]) == [None, None, "truncated"]
    assert faults(whole[: whole.rindex("</PubmedArticle>")]) == [None, "truncated"]
    assert faults(whole[: whole.rindex("<PubmedArticle>") + 5]) == [None, "truncated"]


@pytest.mark.parametrize("gap", ["", "<!-- comment -->"])
def test_a_missing_end_tag_costs_one_record(gap: str) -> None:
    open_ended = article("1", gap).removesuffix("</PubmedArticle>")
    deleted = "<DeleteCitation><PMID>3</PMID></DeleteCitation>"
    file = file_of(open_ended, article("2"), open_ended, deleted)
    assert faults(file) == ["malformed", None, "malformed", None]
    assert faults(file_of(article("2"), open_ended)) == [None, "malformed"]
    assert faults(file_of(open_ended)[:-20] + file_of(article("2"))) == ["malformed", None]


def test_a_record_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_scanner, "MAX_RECORD_BYTES", 1000)
    large = article("2", "<ArticleTitle>" + "x" * 5000 + "</ArticleTitle>")
    commented = large.replace("xx", "<!-- <PubmedArticle> -->", 1)
    file = file_of(article("1"), large, article("3"), commented, article("5"))
    for chunk, ahead in ((1 << 20, 1 << 18), (50, 200)):
        monkeypatch.setattr(xml_scanner, "_CHUNK", chunk)
        monkeypatch.setattr(xml_scanner, "_AHEAD", ahead)
        assert faults(file) == [None, "too_large", None, "too_large", None]


def test_a_huge_record_needs_little_memory() -> None:
    class Endless(io.RawIOBase):
        """A record of half a gigabyte, made as it is read."""

        left = 512

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            if self.left == 511:
                return b"<PubmedArticleSet><PubmedArticle>"
            return b"x" * (1 << 20) if self.left > 0 else b""

    tracemalloc.start()
    records = list(pubmed.scan(Endless()))  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [record.fault for record in records] == ["truncated"]
    assert peak < 80 << 20


def test_records_that_cannot_be_parsed() -> None:
    assert error_of("<PubmedArticle><MedlineCitation/></PubmedArticle>") == "no_pmid"
    assert error_of("<PubmedArticle/>") == "no_pmid"
    assert error_of(article(" ")) == "no_pmid"
    assert error_of(article("1", "<ArticleTitle>&nbsp;</ArticleTitle>")) == "malformed"
    assert error_of(article("1", "<ArticleTitle>&amp</ArticleTitle>")) == "malformed"
    assert error_of(article("1", "<ArticleTitle>\x00</ArticleTitle>")) == "malformed"
    assert error_of(article("1", "<b>" * 5000 + "</b>" * 5000)) == "malformed"
    assert (
        error_of(article("1", "<ArticleTitle>" + "x" * (11 << 20) + "</ArticleTitle>"))
        == "malformed"
    )
    assert error_of(article(" ", behind="<List><PMID>5</PMID></List>")) == "no_pmid"


def test_one_broken_record_leaves_the_others() -> None:
    file = file_of(article("1"), article("2", "<ArticleTitle>a</b>"), article("3"))
    assert [status for _, status in ids(file)] == ["ok", "failed", "ok"]
    assert read(file)[1].errors[0].where == "a.xml, record 1"


# ------------------------------------------------------------------------- what is never looked at


@pytest.mark.parametrize(
    "inside",
    [
        '<AuthorList CompleteYN="Y"><Author>A</Author></AuthorList><ArticleTitle>T</ArticleTitle>',
        "<AuthorList/><ArticleTitle>T</ArticleTitle><AuthorList></AuthorList>",
        '<AuthorList a="/"/><ArticleTitle>T</ArticleTitle><AuthorList></AuthorList>',
        "<!-- <AuthorList> --><ArticleTitle>T</ArticleTitle><!-- </AuthorList> -->",
        "<?x <History>?><ArticleTitle>T</ArticleTitle><?x </History>?>",
        "<ArticleTitle><![CDATA[T]]></ArticleTitle><AuthorList></AuthorList>",
        "<AuthorList>AT&T</AuthorList><ArticleTitle>T</ArticleTitle>",
        "<ReferenceList><ReferenceList/><ReferenceList>a</ReferenceList></ReferenceList>"
        "<ArticleTitle>T</ArticleTitle>",
    ],
)
def test_lists_that_no_field_is_made_of_neither_hide_nor_break_the_rest(inside: str) -> None:
    assert title_of_inside(inside) == "T"


def title_of_inside(inside: str) -> str | None:
    document = only(file_of(article(inside=inside)))
    assert document.errors == []
    return document.title


def test_a_list_without_its_end_tag_breaks_the_record() -> None:
    assert error_of(article(inside="<AuthorList><ArticleTitle>T</ArticleTitle>")) == "malformed"


@pytest.mark.skipif(not REAL_FILES, reason="no ../shared/data/pubmed-xml beside the repository")
@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.name)
def test_documents_are_the_same_where_everything_is_looked_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read(path.read_bytes(), path.name)
    monkeypatch.setattr(pubmed, "shortened", Short)
    assert read(path.read_bytes(), path.name) == found


# -------------------------------------------------------------------------------------- encodings

CHINESE = file_of(
    article("1", "<ArticleTitle>中文 α</ArticleTitle>"),
    article("2", "<ArticleTitle>目的</ArticleTitle>"),
)


@pytest.mark.parametrize(
    ("codec", "declared"),
    [
        ("utf-8", ""),
        ("utf-8-sig", "UTF-8"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", ""),
        ("utf-32", ""),
        ("gb18030", "GB18030"),
        ("gbk", "GBK"),
        ("utf-8", "utf-16"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_encodings(codec: str, declared: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_scanner, "_CHUNK", chunk)
    file = CHINESE.replace("?>", f' encoding="{declared}"?>' if declared else "?>", 1)
    assert [d.title for d in read(file.encode(codec))] == ["中文 α", "目的"]


@pytest.mark.parametrize("codec", ["utf-8", "gb18030", "utf-16"])
def test_invalid_bytes_fail_their_record_only(codec: str) -> None:
    file = CHINESE.replace("?>", f' encoding="{codec}"?>', 1)
    bad = b"\x00\xd8" if codec == "utf-16" else b"\xff"
    data = file.encode(codec).replace("中".encode(codec)[-2:], bad, 1)
    first, second = read(data)
    assert (first.status, first.errors[0].kind) == ("failed", "encoding")
    assert second.title == "目的"


def test_latin_1() -> None:
    file = file_of(article("1", "<ArticleTitle>caf\xe9</ArticleTitle>"))
    file = file.replace("?>", " encoding='ISO-8859-1' ?>", 1)
    assert only(file.encode("latin-1")).title == "caf\xe9"


# ------------------------------------------------------------------------------------ compressed


def test_a_gzip_stream_that_ends_early() -> None:
    whole = gzip.compress(file_of(*(article(str(n)) for n in range(3000))).encode())
    complete = read(whole, "a.xml.gz")
    cut = read(whole[: len(whole) // 2], "a.xml.gz")
    assert len(complete) == 3000
    assert 100 < len(cut) < 3000
    assert [d.document_id for d in cut[:-1]] == [d.document_id for d in complete[: len(cut) - 1]]
    assert cut[-1].errors[0].kind == "truncated"
    assert "compressed" in cut[-1].errors[0].message
    (not_gzip,) = read(b"<PubmedArticleSet/>", "a.xml.gz")
    assert not_gzip.errors[0].kind == "truncated"


# ------------------------------------------------------------------------------------- properties

PIECES = st.sampled_from(
    [
        article("1"),
        article("2", "<ArticleTitle>中文 α</ArticleTitle>"),
        *DECOYS,
        "<PubmedArticle>",
        "<PubmedArticle />",
        "</PubmedArticle>",
        "</PubmedArticle >",
        "<MedlineCitation>",
        "</MedlineCitation>",
        "<MedlineCitation><PMID>4</PMID></MedlineCitation>",
        "<PubmedBookArticle><BookDocument></BookDocument></PubmedBookArticle>",
        "<BookDocument>",
        "<DeleteCitation><PMID>3</PMID></DeleteCitation>",
        "<DeleteCitation>",
        "</DeleteCitation>",
        "<PMID>",
        "</PMID>",
        "<PubmedArticleSet>",
        "</PubmedArticleSet>",
        "</MedlineCitationSet>",
        "<!--",
        "-->",
        "<![CDATA[",
        "<?",
        "x" * 300,
        "é\n",
        '<PubmedArticle a=">',
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12), st.sampled_from([1, 13, 100, 1000]), st.booleans())
def test_records_do_not_depend_on_chunks(pieces: list[str], chunk: int, small: bool) -> None:
    data = ("<PubmedArticleSet>" + "".join(pieces)).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xml_scanner, "MAX_RECORD_BYTES", 400 if small else 1 << 20)
        patch.setattr(xml_scanner, "_AHEAD", 120)
        whole = scan(data)
        patch.setattr(xml_scanner, "_CHUNK", chunk)
        assert scan(data) == whole


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=5), max_size=8))
def test_every_record_is_a_document(pieces: list[str]) -> None:
    data = "".join(pieces).encode("utf-8", "surrogatepass")
    for document in read(data):
        check_offsets(document)
    assert len(scan(data)) == len(read(data))


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from(["", "utf-8", "utf-16", "gb18030", "big5", "utf-7"])
)
def test_no_bytes_make_it_raise(tail: bytes, codec: str) -> None:
    start = f"<?xml version='1.0' encoding='{codec}'?>" if codec else ""
    start += "<PubmedArticleSet><PubmedArticle>"
    for data in (tail, codecs.BOM_UTF16_LE + tail, start.encode() + tail):
        assert len(scan(data)) == len(read(data))


@pytest.mark.parametrize("encoding", sorted(set(aliases.values())))
def test_no_encoding_name_makes_it_raise(encoding: str) -> None:
    data = CHINESE.replace("?>", f" encoding='{encoding}'?>", 1).encode()
    assert len(scan(data)) == len(read(data)) > 0


def test_markup_nested_too_deep_is_a_failed_record_with_its_reason() -> None:
    deep, other = "<i>" * 10_000 + "x" + "</i>" * 10_000, "<ArticleTitle>T</ArticleTitle>"
    found = read(file_of(article("1", f"<ArticleTitle>{deep}</ArticleTitle>"), article("2", other)))
    assert [(d.document_id, d.status) for d in found] == [(None, "failed"), ("2", "ok")]
    assert [(e.kind, "depth" in e.message) for e in found[0].errors] == [("malformed", True)]


def test_headings_within_headings_are_not_read_again() -> None:
    begin = '<DescriptorName UI="D1" MajorTopicYN="N">'
    nested = f"<MeshHeading>{begin * 100}x{'</DescriptorName>' * 100}</MeshHeading>"
    behind = f"<MeshHeadingList>{nested}</MeshHeadingList>"
    assert only(file_of(article(behind=behind))).metadata == {"mesh": "x", "mesh_ids": "D1"}


def test_work_grows_with_markup_that_is_nested_in_markup() -> None:
    def work(depth: int) -> int:
        markup = "<i>" * depth + "x" * 2_000 + "</i>" * depth
        assert title_of(markup) == "x" * 2_000
        return calls(lambda: title_of(markup))

    assert work(200) < 2.1 * work(100) < 100_000


# -------------------------------------------------------------------------------------- real data


@pytest.mark.skipif(not REAL_FILES, reason="no ../shared/data/pubmed-xml beside the repository")
@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.name)
def test_real_files(path: Path) -> None:
    data = path.read_bytes()
    tree = ElementTree.fromstring(gzip.decompress(data) if path.suffix == ".gz" else data)
    expected = []
    for element in tree:
        deleted = element.tag == "DeleteCitation"
        holders = [e for e in element.iter() if e.tag in ("MedlineCitation", "BookDocument")]
        for pmid in element if deleted else [e.find("PMID") for e in holders]:
            assert pmid is not None
            expected.append((pmid.text, "deleted" if deleted else "ok"))
    found = read(data, path.name)
    assert [(d.document_id, d.status) for d in found] == expected
    assert len(list(raw_records(io.BytesIO(data), path.name, pubmed.FORMAT))) == len(expected)
    for document in found:
        check_offsets(document)
        assert document.status == "deleted" or document.title


@pytest.mark.skipif(not REAL_FILES, reason="no ../shared/data/pubmed-xml beside the repository")
def test_the_real_chinese_abstract() -> None:
    found = read((REAL / "pubmr_result.xml.gz").read_bytes(), "pubmr_result.xml.gz")
    (chinese,) = [p for d in found for p in d.passages if p.language == "zh"]
    assert chinese.type == "other_abstract"
    assert "\u4e00" <= chinese.text[0] <= "\u9fff"


def test_memory_does_not_grow_with_the_number_of_records() -> None:
    record = (
        b"<PubmedArticle><MedlineCitation><PMID>1</PMID>"
        + b"x" * 8000
        + b"</MedlineCitation></PubmedArticle>\n"
    )

    class Many(io.RawIOBase):
        """So many records, each made as it is read."""

        def __init__(self, records: int) -> None:
            self.parts = iter([b"<PubmedArticleSet>", *[record] * records, b"</PubmedArticleSet>"])

        def read(self, size: int = -1) -> bytes:
            return next(self.parts, b"")

    peaks = []
    for records in (1_000, 6_000):
        stream = Many(records)
        tracemalloc.start()
        assert sum(1 for _ in pubmed.scan(stream)) == records  # type: ignore[arg-type]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
