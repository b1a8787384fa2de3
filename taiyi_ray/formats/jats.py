"""JATS XML: full texts of journals (https://jats.nlm.nih.gov), as PMC and publishers give them.

What becomes a passage, in the order of the article: titles; each paragraph and heading of the
abstracts, of the body and of the back matter, each item of a list and each displayed quotation or
formula; captions of figures, tables and supplements; tables, their cells separated by tabs and
their rows by line feeds; footnotes. A passage's type is `title`, `subtitle`, `translated_title`,
`abstract`, the section that it is in (`introduction`, `methods`, `results`, `discussion`,
`conclusions`, or its outermost heading as written), `heading`, `figure`, `table_caption`, `table`,
`supplement`, `formula` or `footnote`.

The passages of a figure, table, box or note inside a paragraph follow that paragraph, whose
sentence is not broken. A list or a quotation ends the paragraph. `jats_text.py` decides for each
element, and also which are not read: references, formulas in TeX, author data, labels outside
captions, index terms, other articles (`sub-article`). Marks of citations and notes in superscript
are not read either, because they would join the words before them; other marks stay as printed.
Layout white space becomes one blank. MathML is the text of its tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language, xml_elements, xml_scanner
from taiyi_ray.formats.format import Format, RawRecord
from taiyi_ray.formats.jats_text import Content, Part, line, read
from taiyi_ray.formats.xml_elements import Element, local_name
from taiyi_ray.records import Document, passages

_RECORDS: Final = xml_scanner.XmlRecords(
    roots=(b"pmc-articleset", b"articles", b"OAI-PMH"),
    records=(b"article",),
    expected="article",
    fault="not_jats",
)

Marked = tuple[str, str | None, str]
"""Type, stated language and text of a passage."""

_SECTIONS: Final = (
    (re.compile(r"(\d[\d.]*\s*)?(introduction|intro|background)\W*"), "introduction"),
    (re.compile(r"(\d[\d.]*\s*)?(materials?|patients?|subjects|methods?)\b.*"), "methods"),
    (re.compile(r"(\d[\d.]*\s*)?(results?|findings)\W*"), "results"),
    (re.compile(r"(\d[\d.]*\s*)?discussion\W*"), "discussion"),
    (re.compile(r"(\d[\d.]*\s*)?(conclusions?|concluding remarks)\W*"), "conclusions"),
)
_LONGEST_TYPE: Final = 60

_TITLES: Final = {
    "article-title": "title",
    "subtitle": "subtitle",
    "trans-title": "translated_title",
    "trans-subtitle": "translated_subtitle",
    "fn-group": "footnote",
}
_HOLDERS: Final = frozenset({"body", "back", "floats-group", "floats-wrap"})

_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the articles of a file; most files hold one."""
    return xml_scanner.scan(stream, _RECORDS)


def parse(raw: RawRecord) -> Document:
    """Turn an article into a Document; raises FormatError for a broken one."""
    element = xml_elements.parsed(raw.data)
    article = element if local_name(element) == "article" else element[0]
    front = _first(article, "front")
    meta = _first(front, "article-meta") if front is not None else None
    if meta is None:
        raise FormatError("no_front", "the article has no article-meta")
    code = _stated(article)
    parts = [*_front(meta, code), *_marked(_body(article), code)]
    ids = _ids(meta)
    known = [ids.get("pmid"), ids.get("pmc"), ids.get("doi")]
    return Document(
        next((id_ for id_ in known if id_), None),
        passages((type_, own or language.of_text(text), text) for type_, own, text in parts),
        language=code,
        title=line(_first(meta, "title-group/article-title")) or None,
        metadata={k: v for k, v in _metadata(article, front, meta, ids).items() if v},
    )


def _first(element: Element | None, path: str) -> Element | None:
    return None if element is None else element.find(path)


# -------------------------------------------------------------------------------------- passages


def _front(meta: Element, code: str | None) -> Iterator[Marked]:
    """Yield the passages of titles and abstracts; translated ones have their own languages."""
    for group in (*meta.iterfind("title-group"), *meta.iterfind("title-group/trans-title-group")):
        for title in group:
            if (name := local_name(title)) in _TITLES:
                own = _stated(title) or _stated(group)
                default = None if name.startswith("trans-") else code
                yield from _marked(read(title, _TITLES[name], Content.LINE), own or default)
    for abstract in (*meta.iterfind("abstract"), *meta.iterfind("trans-abstract")):
        default = code if local_name(abstract) == "abstract" else None
        yield from _marked(read(abstract, "abstract"), _stated(abstract) or default)


def _body(article: Element) -> Iterator[Part]:
    """Yield the passages of body, back matter and floats, each section with its own type."""
    for holder in article:
        if local_name(holder) in _HOLDERS:
            yield from read(holder, "text", section_type=_section_type)


def _marked(parts: Iterator[Part], code: str | None) -> Iterator[Marked]:
    return ((type_, code, text) for type_, text in parts)


def _stated(element: Element) -> str | None:
    """The language that an element states for its text; None if it states none."""
    stated = element.get(_LANG)
    return language.normalised(stated) if stated else None


def _section_type(element: Element) -> str:
    """The type of the passages in a section of the body or back matter."""
    heading = line(element.find("title")).lower()
    stated = (element.get("sec-type") or "").lower().partition("|")[0].replace("-", " ")
    for words in (heading, stated):
        for pattern, type_ in _SECTIONS:
            if pattern.fullmatch(words):
                return type_
    if local_name(element) == "ack":
        return "acknowledgements"
    return (heading or stated or "text")[:_LONGEST_TYPE]


# -------------------------------------------------------------------------------------- metadata


def _ids(meta: Element) -> dict[str, str]:
    ids: dict[str, str] = {}
    for id_ in meta.iterfind("article-id"):
        ids.setdefault(id_.get("pub-id-type", ""), line(id_))
    pmc = ids.get("pmcid") or ids.get("pmc")
    if pmc:
        ids["pmc"] = pmc if pmc.startswith("PMC") else f"PMC{pmc}"
    return ids


def _metadata(
    article: Element, front: Element | None, meta: Element, ids: dict[str, str]
) -> dict[str, str]:
    journal = _first(front, "journal-meta")
    date = _date(meta)
    licence = _first(meta, "permissions/license")
    return {
        "journal": line(_first(journal, "journal-title-group/journal-title"))
        or line(_first(journal, "journal-title")),
        "issn": line(_first(journal, "issn")),
        "date": date,
        "year": date[:4],
        "doi": ids.get("doi", ""),
        "pmid": ids.get("pmid", ""),
        "pmc": ids.get("pmc", ""),
        "article_type": article.get("article-type", ""),
        "keywords": "; ".join(filter(None, (line(kwd) for kwd in meta.iterfind("kwd-group/kwd")))),
        "licence": "" if licence is None else licence.get(_HREF) or line(licence),
        "copyright": line(_first(meta, "permissions/copyright-statement")),
    }


def _date(meta: Element) -> str:
    """The most exact date in the first year of publication: 2013, 2013-02 or 2013-02-28."""
    dates = []
    for date in meta.iterfind("pub-date"):
        parts = [line(date.find(name)) for name in ("year", "month", "day")]
        known = [part for n, part in enumerate(parts) if all(p.isdecimal() for p in parts[: n + 1])]
        if known:
            dates.append("-".join(part.zfill(2) for part in known))
    return min(dates, key=lambda date: (date[:4], -len(date), date), default="")


FORMAT = Format(
    "jats",
    (".nxml", ".xml"),
    scan,
    parse,
    "an article: title, abstracts, sections, captions, tables, footnotes",
    recognises=_RECORDS.recognises,
    version=2,
)
