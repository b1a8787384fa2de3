"""PubMed and MEDLINE XML: citations, book articles and deleted PMIDs.

The format is described by NLM's DTDs (https://dtd.nlm.nih.gov/ncbi/pubmed/) and element by element
at https://www.nlm.nih.gov/bsd/licensee/elements_descriptions.html.

How `_text` takes the text of an element. Layout white space (blank, tab, CR, LF) becomes one blank;
no-break and other Unicode spaces stay. Inline markup vanishes without joining or breaking words:
`H<sub>2</sub>O` is H2O, `<i>Bam</i>HI` is BamHI, `<i>p</i>53` is p53. Some publishers lose the
blank at the border of i, b, u, em or strong: `the<i>TERT</i>gene`. A blank is put back at such a
border when word characters meet there, the word outside is all lower case and has two letters or
more, and the marked text has two characters or more with an upper-case letter, a digit or a blank
among them. MathML becomes the text of its tokens, without blanks (`x=2`) except where a word of two
or more letters meets another letter. A blank separates a formula from letters around it.

A title such as `[Not Available].` or `[In Process Citation]` counts as no title: the vernacular
title takes its role.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language, pubmed_mesh, xml_elements, xml_scanner
from taiyi_ray.formats.format import Format, RawRecord
from taiyi_ray.formats.pubmed_mesh import Headings
from taiyi_ray.formats.pubmed_short import shortened
from taiyi_ray.formats.xml_elements import Element, formula, local_name, tidy
from taiyi_ray.records import Document, passages

_Fields = dict[str, Element]

# A MedlineCitation is a record only in the older MedlineCitationSet, a BookDocument only where it
# stands alone: inside an article they are parts of that record.
_RECORDS: Final = xml_scanner.XmlRecords(
    roots=(b"PubmedArticleSet", b"PubmedBookArticleSet", b"MedlineCitationSet"),
    records=(b"PubmedArticle", b"MedlineCitation", b"PubmedBookArticle", b"BookDocument"),
    outer=(b"PubmedArticle", b"PubmedBookArticle"),
    deletions=(b"DeleteCitation", b"DeleteDocument"),
    expected="PubmedArticleSet",
    fault="not_pubmed",
)
_ROOT_NAMES: Final = frozenset(name.decode() for name in _RECORDS.roots)

_FONTS: Final = frozenset({"i", "b", "u", "em", "strong"})
_CLOSE: Final = _FONTS | {"sub", "sup"}
_LAST_WORD = re.compile(r"[^\W_]+\Z")
_FIRST_WORD = re.compile(r"[^\W_]+")
_LONGEST_WORD: Final = 64
"""The most characters before and behind marked text that are looked at; a longer word is cut."""


def _text(element: Element | None) -> str:
    """Return the text of an element by the rules in the module's docstring; empty for None."""
    if element is None:
        return ""
    text = _marked_up(element) if len(element) else element.text
    return tidy(text) if text else ""


def _marked_up(element: Element) -> str:
    """Return the text of an element with markup in it, with its layout white space unchanged."""
    parts = [element.text or ""]
    left = parts[0][-_LONGEST_WORD:]
    for child in element:
        name = local_name(child)
        inner = formula(child) if name == "math" else _marked_up(child)
        tail = child.tail or ""
        before, behind = _lost_blanks(name, left, inner, tail)
        added = f"{' ' * before}{inner}{' ' * behind}{tail}"
        parts.append(added)
        left = (left + added)[-_LONGEST_WORD:]
    return "".join(parts)


def _lost_blanks(name: str, left: str, inner: str, right: str) -> tuple[bool, bool]:
    """Tell whether a blank is missing before and behind the text of an inline element."""
    if name == "math":
        return (
            left[-1:].isalpha() and not inner[:1].isspace(),
            right[:1].isalpha() and not inner[-1:].isspace(),
        )
    if name not in _CLOSE:  # not markup of the DTD: its text need not continue a word
        return bool(inner) or (left[-1:] + right[:1]).isalnum(), bool(inner)
    if name not in _FONTS or len(inner) < 2 or not _is_term(inner):
        return False, False
    return (
        inner[0].isalnum() and _is_plain_word(_LAST_WORD.search(left.rpartition(" ")[2])),
        inner[-1].isalnum() and _is_plain_word(_FIRST_WORD.match(right, 0, _LONGEST_WORD)),
    )


def _is_term(text: str) -> bool:
    # Only the beginning is looked at: nested markup would otherwise look at a long text many times.
    return any(c.isupper() or c.isdigit() or c.isspace() for c in text[:100])


def _is_plain_word(word: re.Match[str] | None) -> bool:
    return word is not None and len(word[0]) > 1 and word[0].isalpha() and word[0].islower()


# What NLM writes for a title that is not translated (yet), or not known.
_NO_TITLE = re.compile(r"\[?(not available|in process citation)[.]?\]?[.]?", re.IGNORECASE)


def _title(element: Element | None) -> str:
    """Return the text of a title; empty if it only says that there is no title."""
    text = _text(element)
    return "" if _NO_TITLE.fullmatch(text) else text


_MONTHS: Final = {
    name: f"{number:02}"
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_YEAR = re.compile(r"\b(1[5-9]|20)\d\d\b")


def _children(element: Element | None) -> dict[str, Element]:
    """Return the first child of each name."""
    return {} if element is None else {cast(str, child.tag): child for child in reversed(element)}


def _texts(parent: Element, name: str) -> list[str]:
    """Return the texts of the children of this name that have any."""
    return [text for child in parent.iterchildren(name) if (text := _text(child))]


def _date(pub_date: Element | None) -> tuple[str, str]:
    """Return the date as far as it is known (2008, 2008-11, 2008-11-05, free text) and the year."""
    parts = _children(pub_date)
    if "MedlineDate" in parts:
        free = _text(parts["MedlineDate"])
        year = _YEAR.search(free)
        return free, year[0] if year else ""
    date = year_ = _text(parts.get("Year"))
    month = _text(parts.get("Month"))
    month = _MONTHS.get(month[:3].lower(), month.zfill(2) if month.isdigit() else "")
    if date and month:
        date += f"-{month}"
        day = _text(parts.get("Day"))
        date += f"-{day.zfill(2)}" if day.isdigit() else ""
    return date, year_


def _headings(listed: Element | None) -> Headings:
    """Return the headings of a MeshHeadingList that the XML parser has read."""
    names: list[str] = []
    ids: list[str] = []
    headings = () if listed is None else listed
    for name in (n for h in headings for n in h.iterchildren("DescriptorName", "QualifierName")):
        attributes = name.attrib
        text = _text(name)
        if attributes.get("MajorTopicYN") == "Y":
            text = "*" + text
        if name.tag == "QualifierName" and names:
            names[-1] += "/" + text
            continue
        names.append(text)
        if ui := attributes.get("UI"):
            ids.append(ui)
    return Headings(pubmed_mesh.SEPARATOR.join(names), pubmed_mesh.SEPARATOR.join(ids))


def _sections(abstract: Element | None, type_: str, code: str) -> Iterator[tuple[str, str, str]]:
    """Yield the sections of an Abstract or OtherAbstract as passages."""
    if abstract is not None:
        for section in abstract.iterchildren("AbstractText"):
            yield section.get("Label") or type_, code, _text(section)


def _document(
    core: Element, article: Element, data: Element | None, headings: Headings | None
) -> Document:
    """Build the Document of a citation or a book.

    Args:
        core: MedlineCitation or BookDocument.
        article: the element with title, abstract and languages: Article, or the BookDocument.
        data: PubmedData or PubmedBookData, if the record has it.
        headings: the headings that were cut out of the record; None if they were not cut out.
    """
    own, fields = _children(core), _children(article)
    document_id, version = _pmid(own.get("PMID"))
    book = _children(fields.get("Book"))
    languages = [language.two_letter(code) for code in _texts(article, "Language")]
    title = _title(fields.get("ArticleTitle"))
    vernacular = _title(fields.get("VernacularTitle"))
    if not title and not (vernacular and "ArticleTitle" in fields):
        title = _title(book.get("BookTitle"))  # a book's own record; a chapter has its own title
    foreign = next((code for code in languages if code != "en"), "und")
    parts = [("title", "en", title), ("vernacular_title", foreign, vernacular)]
    parts += _sections(fields.get("Abstract"), "abstract", "en")
    for other in core.iterchildren("OtherAbstract"):
        code = language.two_letter(other.get("Language") or "eng")
        parts += _sections(other, "other_abstract", code)
    metadata = {
        **_published_in(own, fields, book),
        **_article_ids(own, article, fields.get("Book"), data),
        **_subjects(core, own, fields, headings),
        "languages": "; ".join(languages) if len(languages) > 1 else "",
    }
    return Document(
        document_id,
        passages(parts),
        version,
        languages[0] if languages else None,
        title or vernacular or None,
        {key: value for key, value in metadata.items() if value},
    )


def _pmid(element: Element | None) -> tuple[str, int | None]:
    """Return the PMID and its version; raises FormatError when there is no PMID."""
    pmid = _text(element)
    if element is None or not pmid:
        raise FormatError("no_pmid", "the record has no PMID")
    version = element.get("Version", "")
    return pmid, int(version) if version.isdecimal() and len(version) < 10 else None


def _published_in(own: _Fields, fields: _Fields, book: _Fields) -> dict[str, str]:
    """Return journal or book, and date."""
    journal = _children(fields.get("Journal"))
    abbreviation, issn = journal.get("ISOAbbreviation"), journal.get("ISSN")
    if abbreviation is None or issn is None:
        medline = _children(own.get("MedlineJournalInfo"))
        abbreviation = medline.get("MedlineTA") if abbreviation is None else abbreviation
        issn = medline.get("ISSNLinking") if issn is None else issn
    issue = _children(journal.get("JournalIssue"))
    date, year = _date(issue.get("PubDate", book.get("PubDate")))
    return {
        "journal": _text(journal.get("Title")),
        "journal_abbreviation": _text(abbreviation),
        "issn": _text(issn),
        "book": _title(book.get("BookTitle")),
        "date": date,
        "year": year,
    }


def _article_ids(
    own: _Fields, article: Element, book: Element | None, data: Element | None
) -> dict[str, str]:
    """Return doi, pmc, pii and bookaccession of the article itself, not of its references."""
    ids: dict[str, str] = {}
    for listed in (_children(data).get("ArticleIdList"), own.get("ArticleIdList")):
        for id_ in listed if listed is not None else ():
            ids.setdefault(id_.get("IdType", ""), _text(id_))
    for holder in (article, book):
        for location in () if holder is None else holder.iterchildren("ELocationID"):
            if location.get("ValidYN") != "N":
                ids.setdefault(location.get("EIdType", ""), _text(location))
    return {name: ids.get(name, "") for name in ("doi", "pmc", "pii", "bookaccession")}


def _subjects(
    core: Element, own: _Fields, fields: _Fields, headings: Headings | None
) -> dict[str, str]:
    """Return publication types, MeSH headings and keywords, and whether it was retracted."""
    types = _texts(fields.get("PublicationTypeList", core), "PublicationType")
    listed = own.get("MeshHeadingList")
    if listed is None or headings is None:
        headings = _headings(listed)
    keywords = [
        keyword.rstrip(",; ")
        for listed in core.iterchildren("KeywordList")
        for keyword in _texts(listed, "Keyword")
    ]
    # For some years E-utilities wrote publication types in capitals.
    retracted = "retracted publication" in map(str.lower, types) or any(
        notice.get("RefType") == "RetractionIn" for notice in own.get("CommentsCorrectionsList", ())
    )
    return {
        "publication_types": "; ".join(types),
        "mesh": headings.names,
        "mesh_ids": headings.ids,
        "keywords": "; ".join(keywords),
        "retracted": "true" if retracted else "",
    }


def _element(data: bytes, short: bytes) -> Element:
    """Parse a record: the short form, or the whole of it where the short form cannot be parsed."""
    element = xml_elements.parsed(data, short)
    return element[0] if element.tag in _ROOT_NAMES else element  # wrapped if there are namespaces


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the citations, book articles and deleted PMIDs of a PubMed XML file."""
    return xml_scanner.scan(stream, _RECORDS)


def parse(raw: RawRecord) -> Document:
    """Turn a record that `scan` yielded into a Document; raises FormatError for a broken one."""
    short, headings = shortened(raw.data)
    element = _element(raw.data, short)
    if raw.kind == "delete":
        document_id, version = _pmid(element)
        return Document(document_id, version=version, status="deleted")
    inner = _children(element)
    if raw.kind in ("PubmedBookArticle", "BookDocument"):
        book = inner.get("BookDocument", element)
        return _document(book, book, inner.get("PubmedBookData"), headings)
    citation = inner.get("MedlineCitation", element)
    article = _children(citation).get("Article", citation)
    return _document(citation, article, inner.get("PubmedData"), headings)


FORMAT = Format(
    "pubmed",
    (".xml",),
    scan,
    parse,
    "a citation, a book article or a deleted PMID: title and abstracts, in all their languages",
    version=2,
)
