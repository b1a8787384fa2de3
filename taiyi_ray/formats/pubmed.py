"""PubMed and MEDLINE XML: a byte scanner that finds the records, and a parser for one record.

The format is described by NLM's DTDs (https://dtd.nlm.nih.gov/ncbi/pubmed/) and element by element
at https://www.nlm.nih.gov/bsd/licensee/elements_descriptions.html.

How the scanner works. It looks only for the tags of records and of their root; comments, CDATA and
processing instructions are passed over. Every decision is taken with `_AHEAD` bytes in view (or
the end of the data), and looks no farther: so records do not depend on how the data arrives.

How the text of an element is taken (`_text`). Layout white space (blank, tab, CR, LF) becomes one
blank; no-break and other Unicode spaces stay. Inline markup vanishes without gluing or breaking
words: `H<sub>2</sub>O` is H2O, `<i>Bam</i>HI` is BamHI, `<i>p</i>53` is p53. Some publishers lose
the blank at the border of i, b, u, em or strong: `the<i>TERT</i>gene`. A blank is put back at such
a border when word characters meet there, the word outside is all lower case and has two letters or
more, and the marked text has two characters or more with an upper-case letter, a digit or a blank
among them. MathML is the text of its tokens, set close (`x=2`) except where a word of two or more
letters meets another letter; against letters around it, a formula gets a blank.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final

from lxml import etree

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language
from taiyi_ray.formats.format import MAX_RECORD_BYTES, Format, RawRecord
from taiyi_ray.records import Document, passages

_CHUNK = 1 << 20
_AHEAD = 1 << 18

# ------------------------------------------------------------------------------------- encodings

_BOMS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_DECLARED = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml\s[^<>]*?encoding\s*=\s*["']([^"'<>]*)["']""")
_PROBE: Final = r'<a b="\u0041+ZeU-">~{'

# A byte that its encoding does not know becomes a lone surrogate: not valid in the UTF-8 that the
# parser sees, so it fails the record it is in and no other.
_INVALID = "taiyi_ray.invalid"
codecs.register_error(_INVALID, lambda error: ("\udcff", getattr(error, "end", 0)))


def _read(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end of the data."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _foreign_encoding(head: bytes) -> str | None:
    """Return the encoding that the data must be decoded from, None where it is UTF-8 already."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    declared = _DECLARED.match(head)
    if declared is None:
        return None
    name = declared[1].decode("ascii", "replace")
    try:
        codec = codecs.lookup(name).name
        if "<".encode(name) != b"<":
            return None  # declares UTF-16 or the like in plain ASCII letters: cannot be true
        if _PROBE.encode("ascii").decode(name) != _PROBE:
            raise LookupError  # ASCII in disguise: UTF-7, HZ, Python's own escapes
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):
        message = f"the XML declaration names the encoding {name!r}, which cannot be read"
        raise FormatError("encoding", message) from None
    return None if codec in ("utf-8", "ascii") else codec


def _utf8_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the data as UTF-8, in chunks that are not empty; never raises on their content."""
    chunk = _read(stream, max(_CHUNK, 200))
    encoding = _foreign_encoding(chunk)
    decode: Callable[[bytes], str] | None = None
    if encoding is not None:
        decode = codecs.getincrementaldecoder(encoding)(errors=_INVALID).decode
    while chunk:
        utf8 = decode(chunk).encode("utf-8", "surrogatepass") if decode else chunk
        if utf8:
            yield utf8
        chunk = _read(stream, _CHUNK)


# --------------------------------------------------------------------------------------- scanning

_ROOTS: Final = frozenset({b"PubmedArticleSet", b"PubmedBookArticleSet", b"MedlineCitationSet"})
_RECORDS: Final = frozenset(
    {b"PubmedArticle", b"MedlineCitation", b"PubmedBookArticle", b"BookDocument"}
)
_DELETIONS: Final = frozenset({b"DeleteCitation", b"DeleteDocument"})
_OUTER: Final = frozenset({b"PubmedArticle", b"PubmedBookArticle"})

_CLOSERS: Final = {b"<!--": b"-->", b"<![CDATA[": b"]]>", b"<?": b"?>"}

# The rest of a tag. Its length is bounded well below _AHEAD, and quoted values may hold a ">".
_REST = rb"""((?:[^<>"']{1,500}+|"[^"<]{0,500}+"|'[^'<]{0,500}+'){0,100}+>)"""


def _marks(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """Match the tags of these names, and what may hide such tags: comments, CDATA, instructions."""
    alternatives = b"|".join(sorted(names))
    tag = rb"(/?)(%b)(?=[\s/>])%b?" % (alternatives, _REST)
    return re.compile(rb"<(?:!--|!\[CDATA\[|\?|%b)" % tag)


_MARKS = _marks(_ROOTS | _RECORDS | _DELETIONS)
_MARKS_AND_PMIDS = _marks(_ROOTS | _RECORDS | _DELETIONS | {b"PMID"})

# Where one of these stands before a record's end tag, the record needs the careful way.
_TOP: Final = (b"<PubmedArticle", b"<PubmedBookArticle", b"<Delete", b"ArticleSet", b"CitationSet")
_UNUSUAL: Final = {
    name: (*_TOP, *more)
    for name, more in {
        b"PubmedArticle": (),
        b"PubmedBookArticle": (),
        b"MedlineCitation": (b"<MedlineCitation", b"<BookDocument"),
        b"BookDocument": (b"<MedlineCitation", b"<BookDocument"),
        b"PMID": (b"<MedlineCitation", b"<BookDocument", b"<PMID", b"</Delete"),
    }.items()
}

_MISC = rb"(?:\s++|\xef\xbb\xbf|<\?.*?\?>|<!--.*?-->)*+"
_DOCTYPE = (
    rb"""<!DOCTYPE(?:[^\["'>]|"[^"]*"|'[^']*'"""
    rb"""|\[(?:[^\]"'<]|"[^"]*"|'[^']*'|<!--.*?-->|<\?.*?\?>|<(?!!--|\?))*+\])*+>"""
)
_MISC_ONLY = re.compile(_MISC, re.DOTALL)
_PROLOG = re.compile(rb"%b(?:%b)?+%b<([^\s<>/!?]+)%b" % (_MISC, _DOCTYPE, _MISC, _REST), re.DOTALL)


class _Scanner:
    """The bytes in view, and the walk over them.

    Attributes:
        data: the bytes in view, from the start of the record that is being taken.
        at: where to look next.
        begin: where the record that is being taken starts; None outside one.
        oversize: the record grew too large and its beginning was forgotten.
        ended: `data` reaches to the end of the source.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.data = b""
        self.at = 0
        self.begin: int | None = None
        self.oversize = False
        self.ended = False

    def records(self) -> Iterator[RawRecord]:
        """Yield the records of all the XML documents that the data holds, one after another."""
        first = True
        while True:
            self._see_ahead()
            prolog = _PROLOG.match(self.data, self.at, self.at + _AHEAD)
            name = prolog[1] if prolog else b""
            if prolog is None or name not in _ROOTS | _RECORDS:
                yield from self._no_root(name, first)
                return
            wrap = (b"", b"")
            if name in _ROOTS:
                self.at = prolog.end()
                if prolog[2].endswith(b"/>"):
                    first = False
                    continue
                if b"xmlns" in prolog[2]:
                    wrap = (b"<" + name + prolog[2], b"</" + name + b">")
            for record in self._below(name, wrap):
                yield record
                if record.fault == "truncated":
                    return
            first = False

    def _no_root(self, name: bytes, first: bool) -> Iterator[RawRecord]:
        """Yield what is wrong where a root element was expected, if anything is."""
        misc = _MISC_ONLY.match(self.data, self.at, self.at + _AHEAD)
        start = misc.end() if misc else self.at
        only_misc = self.ended and start == len(self.data)
        if first and not self.data.removeprefix(codecs.BOM_UTF8).strip():
            yield RawRecord.broken("empty", "the file is empty")
        elif name:
            root = name[:80].decode("utf-8", "replace")
            message = f"the root element is <{root}>; expected PubmedArticleSet"
            yield RawRecord.broken("not_pubmed", message)
        elif first:
            shown = self.data[start : start + 40].decode("utf-8", "replace")
            yield RawRecord.broken("not_pubmed", f"no XML element at {shown!r}")
        elif not only_misc:
            yield RawRecord.broken("malformed", "there is text after the end of the root element")

    def _below(self, root: bytes, wrap: tuple[bytes, bytes]) -> Iterator[RawRecord]:
        """Yield the records up to the root's end tag; a record may be the root itself."""
        while (mark := self._next(_MARKS)) is not None:
            closing, name = mark[1], mark[2]
            if closing:
                if name == root:
                    return
                if name in _RECORDS:
                    message = f"an end tag </{name.decode()}> without its start tag"
                    yield RawRecord.broken("malformed", message)
            elif name in _RECORDS:
                yield self._record(mark, _MARKS, wrap)
                if name == root:
                    return
            elif name in _DELETIONS and not (mark[3] or b"").endswith(b"/>"):
                yield from self._deleted(name, wrap)
        yield RawRecord.broken("truncated", f"the data ends without </{root.decode()}>")

    def _deleted(self, block: bytes, wrap: tuple[bytes, bytes]) -> Iterator[RawRecord]:
        """Yield each PMID of a DeleteCitation as a record of the kind `delete`."""
        while (mark := self._next(_MARKS_AND_PMIDS)) is not None:
            closing, name = mark[1], mark[2]
            if name == b"PMID":
                if not closing:
                    yield self._record(mark, _MARKS_AND_PMIDS, wrap)
            elif closing and name == block:
                return
            else:
                self.at = mark.start()
                message = f"<{block.decode()}> without its end tag"
                yield RawRecord.broken("malformed", message)
                return

    def _record(
        self, start: re.Match[bytes], marks: re.Pattern[bytes], wrap: tuple[bytes, bytes]
    ) -> RawRecord:
        """Take the record that starts here, up to its end tag or what shows that it has none."""
        name = start[2]
        self.begin, self.oversize = start.start(), False
        if not (start[3] or b"").endswith(b"/>") and not self._straight_to_end(name):
            fault = self._carefully_to_end(name, marks)
        else:
            fault = None
        begin, self.begin = self.begin, None
        if fault is not None and fault.fault == "truncated":
            return fault
        if self.oversize or begin is None or self.at - begin > MAX_RECORD_BYTES:
            message = f"a <{name.decode()}> is larger than {MAX_RECORD_BYTES >> 20} MiB"
            return RawRecord.broken("too_large", message)
        if fault is not None:
            return fault
        data = self.data[begin : self.at]
        kind = "delete" if name == b"PMID" else name.decode()
        return RawRecord(kind, wrap[0] + data + wrap[1] if wrap[0] else data)

    def _straight_to_end(self, name: bytes) -> bool:
        """Step behind the end tag if it is in view and nothing unusual stands before it."""
        data, at = self.data, self.at
        end = data.find(b"</" + name, at)
        stop = end + len(name) + 3
        if end < 0 or data[stop - 1 : stop] != b">":
            return False
        for unusual in _UNUSUAL[name]:
            if data.find(unusual, at, end) >= 0:
                return False
        # `<!` and `<?`: one rare byte is found ten times faster than two bytes.
        for sign in (b"!", b"?"):
            found = data.find(sign, at, end)
            while found >= 0:
                if data[found - 1] == ord("<"):
                    return False
                found = data.find(sign, found + 1, end)
        self.at = stop
        return True

    def _carefully_to_end(self, name: bytes, marks: re.Pattern[bytes]) -> RawRecord | None:
        """Step behind the end tag; or to what shows that it is missing, and return the fault."""
        while (mark := self._next(marks)) is not None:
            closing, other = mark[1], mark[2]
            if closing and other == name:
                return None
            if closing:
                ends_early = other in _ROOTS or (name == b"PMID" and other in _DELETIONS)
            else:
                ends_early = name not in _OUTER or other not in _RECORDS - _OUTER
            if ends_early:
                self.at = mark.start()
                message = f"a <{name.decode()}> without its end tag"
                return RawRecord.broken("malformed", message)
        return RawRecord.broken("truncated", f"the data ends inside a <{name.decode()}>")

    def _next(self, marks: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Return the next tag of interest and step behind it; None at the end of the data."""
        while True:
            self._see_ahead()
            sure = len(self.data) if self.ended else len(self.data) - _AHEAD
            mark = marks.search(self.data, self.at)
            if mark is not None and mark.start() <= sure:
                self.at = mark.end()
                closer = _CLOSERS.get(mark[0])
                if closer is None:
                    return mark
                self._step_behind(closer)
            else:
                self.at = sure
                if self.ended:
                    return None
                self._read_on()

    def _step_behind(self, closer: bytes) -> None:
        """Step behind the next `closer`, or to the end of the data."""
        while (found := self.data.find(closer, self.at)) < 0:
            if self.ended:
                self.at = len(self.data)
                return
            self.at = max(self.at, len(self.data) - len(closer) + 1)
            self._read_on()
        self.at = found + len(closer)

    def _see_ahead(self) -> None:
        while not self.ended and len(self.data) - self.at < _AHEAD:
            self._read_on()

    def _read_on(self) -> None:
        """Take in a chunk; forget what was passed, and a record that is too large already."""
        if self.begin is not None and self.at - self.begin > MAX_RECORD_BYTES:
            self.begin, self.oversize = None, True
        keep = self.at if self.begin is None else self.begin
        chunk = next(self.chunks, b"")
        self.ended = not chunk
        self.data = self.data[keep:] + chunk
        self.at -= keep
        if self.begin is not None:
            self.begin = 0


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the citations, book articles and deleted PMIDs of a PubMed XML file.

    Kinds: PubmedArticle, MedlineCitation (alone, in the older MedlineCitationSet),
    PubmedBookArticle, BookDocument (alone), and `delete`. Where the root element declares
    namespaces, a record comes wrapped in that root. Never raises on any bytes, only what
    `stream.read` raises.
    """
    try:
        yield from _Scanner(_utf8_chunks(stream)).records()
    except FormatError as error:
        yield RawRecord.broken(error.kind, str(error))


# ---------------------------------------------------------------------------------------- parsing

_Element = etree._Element
_Fields = dict[str, etree._Element]
_ROOT_NAMES: Final = frozenset(name.decode() for name in _ROOTS)

_PARSER = etree.XMLParser(
    encoding="utf-8",
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
    collect_ids=False,
)

_LAYOUT = re.compile("[ \t\r\n]+")
_UNTIDY = re.compile("[\t\r\n]|  ")

_FONTS: Final = frozenset({"i", "b", "u", "em", "strong"})
_CLOSE: Final = _FONTS | {"sub", "sup"}
_LAST_WORD = re.compile(r"[^\W_]+\Z")
_FIRST_WORD = re.compile(r"[^\W_]+")


def _local_name(element: _Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _tidy(text: str) -> str:
    """Make layout white space one blank, and none at the ends."""
    if _UNTIDY.search(text):
        text = _LAYOUT.sub(" ", text)
    return text.strip(" ")


def _text(element: _Element | None) -> str:
    """Return the text of an element as the module's docstring says; empty for None."""
    if element is None:
        return ""
    return _tidy(_marked_up(element) if len(element) else element.text or "")


def _marked_up(element: _Element) -> str:
    """Return the text of an element with markup in it, layout white space as it stands."""
    text = element.text or ""
    for child in element:
        if not isinstance(child.tag, str):
            raise FormatError("malformed", f"an entity that is not defined: {child.text}")
        name = _local_name(child)
        inner = _formula(child) if name == "math" else _marked_up(child)
        tail = child.tail or ""
        before, behind = _lost_blanks(name, text, inner, tail)
        text = f"{text}{' ' * before}{inner}{' ' * behind}{tail}"
    return text


def _lost_blanks(name: str, left: str, inner: str, right: str) -> tuple[bool, bool]:
    """Tell whether a blank is missing before and behind the text of an inline element."""
    if name == "math":
        return (
            left[-1:].isalpha() and not inner[:1].isspace(),
            right[:1].isalpha() and not inner[-1:].isspace(),
        )
    if name not in _CLOSE:  # not markup of the DTD: nothing says that its text goes on a word
        return bool(inner), bool(inner)
    if name not in _FONTS or len(inner) < 2 or not _is_term(inner):
        return False, False
    return (
        inner[0].isalnum() and _is_plain_word(_LAST_WORD.search(left)),
        inner[-1].isalnum() and _is_plain_word(_FIRST_WORD.match(right)),
    )


def _is_term(text: str) -> bool:
    return any(c.isupper() or c.isdigit() or c.isspace() for c in text)


def _is_plain_word(word: re.Match[str] | None) -> bool:
    return word is not None and len(word[0]) > 1 and word[0].isalpha() and word[0].islower()


def _formula(math: _Element) -> str:
    """Return the text of a MathML element: its tokens, with blanks only to keep words apart."""
    text, previous = "", ""
    for token in _tokens(math):
        letters = (previous[-1:] + token[0]).isalpha()
        words_meet = letters and previous and max(len(previous), len(token)) > 1
        text += f" {token}" if words_meet else token
        previous = token
    return text or _tidy(math.get("alttext") or "")


def _tokens(element: _Element) -> Iterator[str]:
    """Yield the texts in a MathML element in order, without copies in another notation."""
    if token := _tidy(element.text or ""):
        yield token
    for child in element:
        if _local_name(child) not in ("annotation", "annotation-xml"):
            yield from _tokens(child)
        if token := _tidy(child.tail or ""):
            yield token


_MONTHS: Final = {
    name: f"{number:02}"
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_YEAR = re.compile(r"\b(1[5-9]|20)\d\d\b")


def _children(element: _Element | None) -> dict[str, _Element]:
    """Return the first child of each name."""
    found: dict[str, _Element] = {}
    if element is not None:
        for child in element:
            found.setdefault(str(child.tag), child)
    return found


def _texts(parent: _Element, name: str) -> list[str]:
    """Return the texts of the children of this name that have any."""
    return [text for child in parent.iterchildren(name) if (text := _text(child))]


def _date(pub_date: _Element | None) -> tuple[str, str]:
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


def _headings(headings: Iterable[_Element] | None) -> tuple[list[str], list[str]]:
    """Return MeSH headings as MEDLINE writes them (`Hypertension/*drug therapy`), and their ids."""
    names, ids = [], []
    for heading in headings if headings is not None else ():
        parts = []
        for name in heading:
            star = "*" if name.get("MajorTopicYN") == "Y" else ""
            parts.append(star + _text(name))
            if name.tag == "DescriptorName" and (ui := name.get("UI")):
                ids.append(ui)
        names.append("/".join(parts))
    return names, ids


def _sections(abstract: _Element | None, type_: str, code: str) -> Iterator[tuple[str, str, str]]:
    """Yield the sections of an Abstract or OtherAbstract as passages."""
    if abstract is not None:
        for section in abstract.iterchildren("AbstractText"):
            yield section.get("Label") or type_, code, _text(section)


def _document(core: _Element, article: _Element, data: _Element | None) -> Document:
    """Build the Document of a citation or a book.

    Args:
        core: MedlineCitation or BookDocument.
        article: what holds title, abstract and languages: Article, or the BookDocument itself.
        data: PubmedData or PubmedBookData, where the record has it.
    """
    own, fields = _children(core), _children(article)
    document_id, version = _pmid(own.get("PMID"))
    book = _children(fields.get("Book"))
    languages = [language.two_letter(code) for code in _texts(article, "Language")]
    title = _text(fields.get("ArticleTitle")) or _text(book.get("BookTitle"))
    vernacular = _text(fields.get("VernacularTitle"))
    foreign = next((code for code in languages if code != "en"), "und")
    parts = [("title", "en", title), ("vernacular_title", foreign, vernacular)]
    parts += _sections(fields.get("Abstract"), "abstract", "en")
    for other in core.iterchildren("OtherAbstract"):
        code = language.two_letter(other.get("Language") or "eng")
        parts += _sections(other, "other_abstract", code)
    metadata = {
        **_published_in(own, fields, book),
        **_article_ids(own, article, fields.get("Book"), data),
        **_subjects(core, own, fields),
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


def _pmid(element: _Element | None) -> tuple[str, int | None]:
    """Return the PMID and its version; a record without the one cannot be told from others."""
    pmid = _text(element)
    if element is None or not pmid:
        raise FormatError("no_pmid", "the record has no PMID")
    version = element.get("Version", "")
    return pmid, int(version) if version.isdecimal() and len(version) < 10 else None


def _published_in(own: _Fields, fields: _Fields, book: _Fields) -> dict[str, str]:
    """Return journal or book, and date."""
    journal, medline = _children(fields.get("Journal")), _children(own.get("MedlineJournalInfo"))
    issue = _children(journal.get("JournalIssue"))
    date, year = _date(issue.get("PubDate", book.get("PubDate")))
    return {
        "journal": _text(journal.get("Title")),
        "journal_abbreviation": _text(journal.get("ISOAbbreviation", medline.get("MedlineTA"))),
        "issn": _text(journal.get("ISSN", medline.get("ISSNLinking"))),
        "book": _text(book.get("BookTitle")),
        "date": date,
        "year": year,
    }


def _article_ids(
    own: _Fields, article: _Element, book: _Element | None, data: _Element | None
) -> dict[str, str]:
    """Return doi, pmc and pii of the article itself; its references have an ArticleIdList too."""
    ids: dict[str, str] = {}
    for listed in (_children(data).get("ArticleIdList"), own.get("ArticleIdList")):
        for id_ in listed if listed is not None else ():
            ids.setdefault(id_.get("IdType", ""), _text(id_))
    for holder in (article, book):
        for location in () if holder is None else holder.iterchildren("ELocationID"):
            if location.get("ValidYN") != "N":
                ids.setdefault(location.get("EIdType", ""), _text(location))
    return {name: ids.get(name, "") for name in ("doi", "pmc", "pii", "bookaccession")}


def _subjects(core: _Element, own: _Fields, fields: _Fields) -> dict[str, str]:
    """Return publication types, MeSH headings and keywords, and whether it was retracted."""
    types = _texts(fields.get("PublicationTypeList", core), "PublicationType")
    mesh, mesh_ids = _headings(own.get("MeshHeadingList"))
    keywords = [
        keyword.rstrip(",; ")
        for listed in core.iterchildren("KeywordList")
        for keyword in _texts(listed, "Keyword")
    ]
    # E-utilities wrote types in capitals for some years.
    retracted = "retracted publication" in map(str.lower, types) or any(
        notice.get("RefType") == "RetractionIn" for notice in own.get("CommentsCorrectionsList", ())
    )
    return {
        "publication_types": "; ".join(types),
        "mesh": "; ".join(mesh),
        "mesh_ids": "; ".join(mesh_ids),
        "keywords": "; ".join(keywords),
        "retracted": "true" if retracted else "",
    }


def _element(data: bytes) -> _Element:
    """Parse the bytes of one record, without entities and without a look at any other place."""
    try:
        data.decode("utf-8")  # libxml2 would go on with replacement characters
        element = etree.fromstring(data, _PARSER)
    except UnicodeDecodeError as error:
        message = f"bytes that are not valid in the file's encoding: {error.reason}"
        raise FormatError("encoding", message) from None
    except etree.XMLSyntaxError as error:
        first_line = str(error).partition("\n")[0]
        raise FormatError("malformed", f"not well-formed XML: {first_line}") from None
    if str(element.tag).startswith("{"):
        _drop_namespace(element)
    if element.tag in _ROOT_NAMES:  # wrapped, for the namespaces
        element = element[0]
    return element


def _drop_namespace(element: _Element) -> None:
    """Take a default namespace off the names of all the elements in it."""
    namespace = str(element.tag).partition("}")[0] + "}"
    for inner in element.iter(f"{namespace}*"):
        inner.tag = _local_name(inner)


def parse(raw: RawRecord) -> Document:
    """Turn a record that `scan` yielded into a Document; raises FormatError for a broken one."""
    element = _element(raw.data)
    if raw.kind == "delete":
        document_id, version = _pmid(element)
        return Document(document_id, version=version, status="deleted")
    inner = _children(element)
    if raw.kind in ("PubmedBookArticle", "BookDocument"):
        book = inner.get("BookDocument", element)
        return _document(book, book, inner.get("PubmedBookData"))
    citation = inner.get("MedlineCitation", element)
    article = _children(citation).get("Article", citation)
    return _document(citation, article, inner.get("PubmedData"))


FORMAT = Format("pubmed", (".xml",), scan, parse)
