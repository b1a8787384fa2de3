"""Records cut short: whatever is in them, their Documents are those of the whole records."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import pubmed
from taiyi_ray.formats.format import RawRecord
from taiyi_ray.formats.pubmed_short import Short, shortened
from taiyi_ray.records import Document

DESCRIPTOR = '<DescriptorName UI="D006801" MajorTopicYN="N">Humans</DescriptorName>'
HEADING = f"<MeshHeading>{DESCRIPTOR}</MeshHeading>"
LIST = f"<MeshHeadingList>{HEADING}</MeshHeadingList>"


def article(behind: str, inside: str = "<ArticleTitle>T</ArticleTitle>") -> bytes:
    citation = f"<PMID>1</PMID><Article>{inside}</Article>{behind}"
    return f"<PubmedArticle><MedlineCitation>{citation}</MedlineCitation></PubmedArticle>".encode()


def outcome(data: bytes) -> Document | str:
    try:
        return pubmed.parse(RawRecord("PubmedArticle", data))
    except FormatError as error:
        return error.kind


def outcomes(data: bytes) -> list[Document | str]:
    """What becomes of a record: cut short, and whole."""
    with pytest.MonkeyPatch.context() as patch:
        short = outcome(data)
        patch.setattr(pubmed, "shortened", Short)
        return [short, outcome(data)]


def mesh(data: bytes) -> tuple[str | None, str | None]:
    short, whole = outcomes(data)
    assert isinstance(short, Document)
    assert short == whole
    return short.metadata.get("mesh"), short.metadata.get("mesh_ids")


def test_what_is_left_of_a_record() -> None:
    unread = "<DateRevised><Year>2018</Year></DateRevised><GrantList C='Y'><Grant/></GrantList>"
    short = shortened(article(unread + LIST + "<Other/>", "<AuthorList>A</AuthorList>?!"))
    assert short.data == article("<MeshHeadingList></MeshHeadingList><Other/>", "?!")
    assert short.headings == ("Humans", "D006801")


@pytest.mark.parametrize("hidden", ["<!-- a -->", "<?a b?>", "<![CDATA[a]]>"])
def test_a_record_that_may_hide_tags_stays_whole(hidden: str) -> None:
    data = article(LIST + hidden)
    assert shortened(data) == Short(data)
    assert mesh(data) == ("Humans", "D006801")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (article(LIST), "Humans"),
        (article("<MeshHeadingList a='b'>" + HEADING + "</MeshHeadingList>"), "Humans"),
        (article("<MeshHeadingList/>" + LIST), None),
        (article("<MeshHeadingList></MeshHeadingList>" + LIST), None),
        (article(LIST + LIST.replace("Humans", "Rats")), "Humans"),
        (article(LIST.replace("Humans", "<i>x</i>") + LIST.replace("Humans", "Rats")), "x"),
        (article(f"<Other>{LIST}</Other>"), None),
        (article("", LIST), None),
        (article(f"<AuthorList>{LIST}</AuthorList>"), None),
        (
            article("<AuthorList><AuthorList/><AuthorList>a</AuthorList></AuthorList>" + LIST),
            "Humans",
        ),
        (article(LIST.replace("<MeshHeadingList>", '<MeshHeadingList xmlns="urn:a">')), None),
        (article(LIST.replace("<MeshHeadingList>", '<MeshHeadingList xmlns:a="b">')), "Humans"),
    ],
)
def test_headings_are_those_of_the_citations_first_list(data: bytes, found: str | None) -> None:
    assert mesh(data)[0] == found


@pytest.mark.parametrize(
    ("notices", "retracted"),
    [
        (["RetractionIn"], True),
        (["Cites", "RetractionIn"], True),
        (["&#82;etractionIn"], True),
        (["Cites", "RetractionOf"], False),
        ([], False),
    ],
)
def test_notices_are_left_where_one_may_be_of_a_retraction(
    notices: list[str], retracted: bool
) -> None:
    inner = joined(f'<CommentsCorrections RefType="{type_}"/>' for type_ in notices)
    full = f"<CommentsCorrectionsList>{inner}</CommentsCorrectionsList>"
    empty = "<CommentsCorrectionsList></CommentsCorrectionsList>"
    assert shortened(article(full)).data == article(full if retracted else empty)
    for record, expected in (
        (article(full), retracted),
        (article(empty + full), False),
        (article(f"<Other>{full}</Other>"), False),
    ):
        short, whole = outcomes(record)
        assert isinstance(short, Document)
        assert short == whole
        assert ("retracted" in short.metadata) == expected


def test_namespaces_of_the_root() -> None:
    for names, found in (('xmlns="urn:a"', "Humans"), ('xmlns:a="urn:a"', "Humans")):
        wrapped = b"<PubmedArticleSet %b>%b</PubmedArticleSet>" % (names.encode(), article(LIST))
        assert mesh(wrapped)[0] == found


# ------------------------------------------------------------------------------------- properties

UNREAD = ["AuthorList", "ChemicalList", "DateCompleted", "GrantList", "Pagination", "ReferenceList"]
TEXTS = (
    st.sampled_from(
        ["Humans", "drug therapy", "a &amp; b", "&#65;", "A&b", "&lt;", " a", "a  b", ""]
    )
    | st.sampled_from(["\n", "a\tb", "é", "ß]]>", "x>y", "\x01", "<i>a</i>", "a<b/>", "'\"", "?!"])
    | st.sampled_from(["<!-- a -->", "<![CDATA[a]]>", "<?a?>"])
)
ATTRIBUTES = (
    st.sampled_from([' UI="D1" MajorTopicYN="N"', ' UI="D2" MajorTopicYN="Y"', ' MajorTopicYN="Y"'])
    | st.sampled_from([' UI="D1" MajorTopicYN="N" Type="Geographic"', ' MajorTopicYN="Y" UI="D3"'])
    | st.sampled_from(
        ["", '\tUI="D5"', ' UI = "D6"', ' MajorTopicYN="&#89;"', " UI='D4'", ' UI="é"']
    )
    | st.sampled_from([' UI="D1" UI="D1"', ' UI=""', ' UI="a>b"', ' MajorTopicYN="y"', ' x="Y"'])
    | st.sampled_from([' UI="" MajorTopicYN="Y"', ' Type="a" MajorTopicYN="Y" UI="D7"'])
)
PLAIN_TEXTS = st.sampled_from(["Humans", "drug therapy", "a &amp; b", "1,2-X (y)"])
PLAIN_ATTRIBUTES = st.sampled_from([' UI="D1" MajorTopicYN="N"', ' MajorTopicYN="Y"'])
BLANKS = st.sampled_from(["", "\n    ", " ", "\r\n\t"])


def joined(parts: Iterable[str]) -> str:
    return "".join(parts)


def names(kind: str, texts: st.SearchStrategy[str], attributes: st.SearchStrategy[str]):  # type: ignore[no-untyped-def]
    return st.builds(
        "<{0}Name{2}>{1}</{0}Name>{3}".format, st.just(kind), texts, attributes, BLANKS
    )


def headings(texts: st.SearchStrategy[str], attributes: st.SearchStrategy[str]):  # type: ignore[no-untyped-def]
    qualifiers = st.lists(names("Qualifier", texts, attributes), max_size=2).map(joined)
    descriptor = names("Descriptor", texts, attributes)
    return st.builds(
        "<MeshHeading>{}{}{}</MeshHeading>{}".format, BLANKS, descriptor, qualifiers, BLANKS
    )


PLAIN = headings(PLAIN_TEXTS, PLAIN_ATTRIBUTES)
ODD = headings(TEXTS, ATTRIBUTES)
STRAY = (
    st.sampled_from(
        ["</MeshHeading>", "<MeshHeading>", "<MeshHeading/>", "<MeshHeading >", "Name>"]
    )
    | st.sampled_from(
        ["x", "é", "&", "</DescriptorName>", "</QualifierName>", "<Other>", "</Other>"]
    )
    | st.sampled_from(["<MeshHeadingList>", "</MeshHeadingList>", "<MeshHeadingList/>", LIST])
    | st.sampled_from([DESCRIPTOR, DESCRIPTOR.replace("Descriptor", "Qualifier")])
    | st.sampled_from([f"<{end}{name}>" for name in UNREAD for end in ("", "/")])
)
LISTS = st.builds(
    "<MeshHeadingList>{}{}</MeshHeadingList>".format,
    BLANKS,
    st.lists(PLAIN | PLAIN | PLAIN | ODD | STRAY, max_size=5).map(joined),
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(LISTS, min_size=1, max_size=2).map(joined))
def test_headings_are_what_an_xml_parser_finds(lists: str) -> None:
    short, whole = outcomes(article(lists))
    faulty = whole == "malformed" and any(f"<{name}>" in lists for name in UNREAD)
    assert short == whole or faulty  # a fault in what is not read is not noticed


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_headings_as_nlm_writes_them_take_no_parser(heading: str) -> None:
    short = shortened(article(f"<MeshHeadingList>\n{heading}\n</MeshHeadingList>"))
    assert short.headings is not None
    assert b"DescriptorName" not in short.data
