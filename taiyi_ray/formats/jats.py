"""JATS XML: full texts of journals (https://jats.nlm.nih.gov), as PMC and publishers give them.

What becomes a passage, in the order of the article: the title, each paragraph and heading of the
abstracts, of the body and of the back matter; captions of figures and tables; tables, their cells
separated by tabs and their rows by line feeds; footnotes. A passage's type is `title`, `abstract`,
the section that it is in (`introduction`, `methods`, `results`, `discussion`, `conclusions`, or its
outermost heading as written), `heading`, `figure`, `table_caption`, `table` or `footnote`.

References, formulas in TeX, author data, and sub-articles are left out; so are marks of citations
and notes in superscript, which would lengthen the words before them. Other marks stay as printed.
Floats inside a paragraph follow it. Layout white space becomes one blank; MathML is the text of its
tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language, xml_elements, xml_scanner
from taiyi_ray.formats.format import Format, RawRecord
from taiyi_ray.formats.xml_elements import Element, formula, local_name, tidy
from taiyi_ray.records import Document, passages

_RECORDS: Final = xml_scanner.XmlRecords(
    roots=(b"pmc-articleset", b"articles", b"OAI-PMH"),
    records=(b"article",),
    expected="article",
    fault="not_jats",
)

Part = tuple[str, str]
"""Type and text of a passage."""

_SECTIONS: Final = (
    (re.compile(r"(\d[\d.]*\s*)?(introduction|intro|background)\W*"), "introduction"),
    (re.compile(r"(\d[\d.]*\s*)?(materials?|patients?|subjects|methods?)\b.*"), "methods"),
    (re.compile(r"(\d[\d.]*\s*)?(results?|findings)\W*"), "results"),
    (re.compile(r"(\d[\d.]*\s*)?discussion\W*"), "discussion"),
    (re.compile(r"(\d[\d.]*\s*)?(conclusions?|concluding remarks)\W*"), "conclusions"),
)
_LONGEST_TYPE: Final = 60

_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"

_NOTES: Final = frozenset({"bibr", "fn", "table-fn"})
_UNREAD: Final = frozenset(
    {
        *("ref-list", "tex-math", "graphic", "inline-graphic", "media", "object-id", "journal-id"),
        *("contrib-group", "aff", "author-notes", "index-term", "alt-text", "long-desc", "history"),
        *("inline-supplementary-material", "permissions", "sub-article", "response", "label"),
    }
)
_FLOATS: Final = frozenset(
    {
        *("fig", "fig-group", "table-wrap", "table-wrap-group", "boxed-text", "list", "def-list"),
        *(
            "supplementary-material",
            "disp-quote",
            "fn",
            "fn-group",
            "statement",
            "chem-struct-wrap",
        ),
    }
)


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the articles of a file, mostly one."""
    return xml_scanner.scan(stream, _RECORDS)


def parse(raw: RawRecord) -> Document:
    """Turn an article into a Document; raises FormatError for a broken one."""
    element = xml_elements.parsed(raw.data)
    article = element if local_name(element) == "article" else element[0]
    front = _first(article, "front")
    meta = _first(front, "article-meta") if front is not None else None
    if meta is None:
        raise FormatError("no_front", "the article has no article-meta")
    title = _text(_first(meta, "title-group/article-title"))
    stated = article.get(_LANG)
    code = language.normalised(stated) if stated else None
    parts = [*_front(meta, title, code), *_marked(_body(article), code)]
    ids = _ids(meta)
    known = [ids.get("pmid"), ids.get("pmc"), ids.get("doi")]
    return Document(
        next((id_ for id_ in known if id_), None),
        passages((type_, own or language.of_text(text), text) for type_, own, text in parts),
        language=code,
        title=title or None,
        metadata={k: v for k, v in _metadata(article, front, meta, ids).items() if v},
    )


def _first(element: Element | None, path: str) -> Element | None:
    return None if element is None else element.find(path)


# ------------------------------------------------------------------------------------------ text


def _text(element: Element | None) -> str:
    """The text of an element in a line, without what is not read or stands apart."""
    return "" if element is None else tidy(_inline(element))


def _inline(element: Element) -> str:
    text = element.text or ""
    for child in element:
        name = local_name(child)
        if name == "math":
            text += f" {formula(child)} "
        elif name in ("break", "p", "title"):
            text += f" {_inline(child)} "
        elif name not in _UNREAD | _FLOATS and not _is_raised_mark(name, child):
            text += _inline(child)
        text += child.tail or ""
    return text


def _is_raised_mark(name: str, element: Element) -> bool:
    """Tell whether an element holds nothing but marks of citations or notes, in superscript."""
    if name == "xref":
        return element.get("ref-type") in _NOTES and element.find("sup") is not None
    marks = [child for child in element if child.get("ref-type") in _NOTES]
    between = "".join([element.text or "", *(child.tail or "" for child in element)])
    all_marks = bool(marks) and len(marks) == len(element)
    return name == "sup" and all_marks and not any(c.isalnum() for c in between)


def _floats(element: Element) -> Iterator[Element]:
    """Yield what stands apart inside a paragraph, not what is inside that."""
    for child in element:
        if local_name(child) in _FLOATS:
            yield child
        elif local_name(child) not in _UNREAD:
            yield from _floats(child)


# -------------------------------------------------------------------------------------- passages


def _front(meta: Element, title: str, code: str | None) -> Iterator[tuple[str, str | None, str]]:
    yield "title", code, title
    for group in meta.iterfind("title-group/trans-title-group"):
        stated = group.get(_LANG)
        own = language.normalised(stated) if stated else None
        yield "translated_title", own, _text(group.find("trans-title"))
    for abstract in (*meta.iterfind("abstract"), *meta.iterfind("trans-abstract")):
        stated = abstract.get(_LANG)
        own = language.normalised(stated) if stated else None
        default = code if local_name(abstract) == "abstract" else None
        for type_, text in _block(abstract, "abstract"):
            yield type_, own or default, text


def _marked(parts: Iterator[Part], code: str | None) -> Iterator[tuple[str, str | None, str]]:
    return ((type_, code, text) for type_, text in parts)


def _body(article: Element) -> Iterator[Part]:
    """Yield the passages of body, back matter and floats, each section with its own type."""
    for holder in (article.find(name) for name in ("body", "back", "floats-group")):
        for child in () if holder is None else holder:
            name = local_name(child)
            if name in _UNREAD:
                continue
            yield from _element(child, _section_type(child, name))


def _section_type(element: Element, name: str) -> str:
    """The type of what stands in a section of the body or back matter."""
    heading = _text(element.find("title")).lower()
    stated = (element.get("sec-type") or "").lower().partition("|")[0].replace("-", " ")
    for words in (heading, stated):
        for pattern, type_ in _SECTIONS:
            if pattern.fullmatch(words):
                return type_
    if name == "ack":
        return "acknowledgements"
    return (heading or stated or "text")[:_LONGEST_TYPE]


def _element(element: Element, type_: str) -> Iterator[Part]:
    """Yield the passages of an element below a section."""
    name = local_name(element)
    if name in _UNREAD:
        return
    if name in ("p", "disp-quote", "attrib", "verse-group", "preformat", "speech"):
        if name == "p" or element.find("p") is None:
            yield type_, _text(element)
            for float_ in _floats(element):
                yield from _element(float_, type_)
        else:
            yield from _block(element, type_)
    elif name == "title":
        yield "heading", _text(element)
    elif name in ("fig", "supplementary-material"):
        yield "figure" if name == "fig" else "supplement", _caption(element)
    elif name == "table-wrap":
        yield from _table(element)
    elif name == "fn":
        yield "footnote", _text(element)
    elif name == "def-item":
        yield type_, ": ".join(filter(None, (_text(child) for child in element)))
    elif name in ("disp-formula", "disp-formula-group"):
        yield "formula", _text(element)
    else:
        yield from _block(element, type_)


def _block(element: Element, type_: str) -> Iterator[Part]:
    for child in element:
        yield from _element(child, type_)


def _caption(element: Element) -> str:
    """Label and caption in a line."""
    parts = [_text(element.find("label")), _text(element.find("caption"))]
    return " ".join(filter(None, parts))


def _table(wrap: Element) -> Iterator[Part]:
    """Yield a table's caption, its rows, and its footnotes."""
    yield "table_caption", _caption(wrap)
    for table in wrap.iter("{*}table"):
        rows = (
            "\t".join(_text(cell) for cell in row if local_name(cell) in ("td", "th"))
            for row in table.iter("{*}tr")
        )
        yield "table", "\n".join(row for row in rows if row.strip())
    for foot in wrap.iterfind("table-wrap-foot"):
        for child in foot:
            yield "footnote", _text(child)


# -------------------------------------------------------------------------------------- metadata


def _ids(meta: Element) -> dict[str, str]:
    ids: dict[str, str] = {}
    for id_ in meta.iterfind("article-id"):
        ids.setdefault(id_.get("pub-id-type", ""), _text(id_))
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
        "journal": _text(_first(journal, "journal-title-group/journal-title"))
        or _text(_first(journal, "journal-title")),
        "issn": _text(_first(journal, "issn")),
        "date": date,
        "year": date[:4],
        "doi": ids.get("doi", ""),
        "pmid": ids.get("pmid", ""),
        "pmc": ids.get("pmc", ""),
        "article_type": article.get("article-type", ""),
        "keywords": "; ".join(filter(None, (_text(kwd) for kwd in meta.iterfind("kwd-group/kwd")))),
        "licence": "" if licence is None else licence.get(_HREF) or _text(licence),
        "copyright": _text(_first(meta, "permissions/copyright-statement")),
    }


def _date(meta: Element) -> str:
    """The best known date of the first year of publication: 2013, 2013-02, 2013-02-28."""
    dates = []
    for date in meta.iterfind("pub-date"):
        parts = [_text(date.find(name)) for name in ("year", "month", "day")]
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
)
