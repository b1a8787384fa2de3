"""CoNLL: a token a line with its tag, blank lines between sentences.

    -DOCSTART- (2234245)<TAB>O      a document begins; its id may stand there, or as :2234245

    Ocular<TAB>B-Disease
    myasthenia<TAB>I-Disease
    .<TAB>O

The shared tasks of CoNLL (https://www.clips.uantwerpen.be/conll2003/ner/) made this form common;
its tags say where mentions begin and go on (Ramshaw and Marcus 1995, aclanthology.org/W95-0107):

    iob2      B- begins a mention, I- goes on with it
    iob1      B- stands only where a mention touches the one before of the same type
    iobes     as iob2; E- ends a mention, S- is a whole one (also L- and U- of BILOU, M- and W-)

A tag that goes on with nothing begins a mention, as conlleval counts it; the document's `errors`
count such tags (`gold_tags`). Nested mentions have a column of tags for each layer. Where the
blanks of the text were is lost, unless a column says where each token starts: `blanks` says how the
tokens are joined.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import BinaryIO, Final, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language
from taiyi_ray.formats.format import (
    FormatOptions,
    NamedFormat,
    RawRecord,
    Writer,
    Written,
    decoded,
)
from taiyi_ray.formats.gold import Gold, whole
from taiyi_ray.formats.json_lines import lines
from taiyi_ray.formats.line_record import LineRecord
from taiyi_ray.forms import is_han, is_mark
from taiyi_ray.records import Annotations, Document, Failure, Mention, passages

MARK: Final = "-DOCSTART-"

# What a tag says of its token, by the letter that it begins with: the first of a mention, one
# inside, the last one, or a whole mention.
_IOBES: Final = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
_PARTS: Final = {"iob1": {"B": "B", "I": "I"}, "iob2": {"B": "B", "I": "I"}, "iobes": _IOBES}
_TAG: Final = re.compile(r"([A-Z])(?:-(\S+))?")
_ID: Final = re.compile(r"\s*\(([^\t]*)\)|:\s*(\S+)")

_CLOSING: Final = frozenset(".,;:!?)]}%’”»、，。；：！？）】》")
_OPENING: Final = frozenset("([{“‘«（【《")
_HYPHENS: Final = frozenset("-/–")

# The reader takes this for a mark of the encoding, wherever a line begins with it.
_NOT_READ: Final = {0xFEFF: "\ufffd"}


class ConllOptions(FormatOptions):
    """What the columns hold, and how text and documents come out of them."""

    columns: list[Literal["token", "tag", "start", "-"]] = Field(
        ["token", "tag"],
        description="what each column holds; several `tag` are layers of nested mentions, `start` "
        "is the offset of the token in its document, `-` is not read",
    )
    scheme: Literal["iob2", "iob1", "iobes"] = Field("iob2", description="what the tags mean")
    record: Literal["document", "sentence"] = Field(
        "document", description="what a record is; a file without marks is one document"
    )
    mark: str = Field(
        MARK, min_length=1, description="what the line begins with that begins a document"
    )
    blanks: Literal["every", "tidy", "none"] = Field(
        "every",
        description="where a blank joins two tokens: `every`where; not before closing and behind "
        "opening punctuation, nor at hyphens and slashes (`tidy`); or `none`",
    )

    @model_validator(mode="after")
    def _has_what_is_read(self) -> Self:
        columns = Counter(self.columns)
        if columns["token"] != 1 or not columns["tag"]:
            raise ValueError("columns: expected one token and one tag at least")
        if columns["start"] > 1:
            raise ValueError("columns: start stands once at most")
        return self


def scan(stream: BinaryIO, options: ConllOptions) -> Iterator[RawRecord]:
    """Yield the documents or the sentences; a document without any line is none."""
    mark = options.mark.encode()
    record = LineRecord(options.record)
    nothing = True
    for line in lines(stream):
        blank = line is not None and not line.strip()
        nothing = nothing and blank
        begins = line is not None and line.startswith(mark)
        if options.record == "sentence" and (blank or begins):
            yield from record.taken()
            continue
        if begins:
            yield from record.taken()
        if record or not blank:
            record.add(line)
    yield from record.taken()
    if nothing:
        yield RawRecord.broken("empty", "the file is empty")


class _Token(NamedTuple):
    """A token of a sentence.

    Attributes:
        text: the token.
        tags: its tag in each layer.
        start: its offset in its document, where the file states it.
    """

    text: str
    tags: Sequence[str]
    start: int | None


def parse(raw: RawRecord, options: ConllOptions) -> Document:
    """Join the tokens of one record to a text, with the mentions that their tags mark as gold."""
    document_id, sentences = None, []
    rows: list[_Token] = []
    for number, line in enumerate(decoded(raw.data, options.record).split("\n"), 1):
        if line.startswith(options.mark):
            match = _ID.match(line, len(options.mark))
            document_id = (match[1] or match[2] if match else None) or None
        elif line.strip():
            rows.append(_token(line, number, options))
        elif rows:
            sentences.append(rows)
            rows = []
    if rows:
        sentences.append(rows)
    text, places = _joined(sentences, options, raw.size)
    document = Document(document_id, passages([("text", language.of_text(text), text)]))
    gold = Gold(document, [passage.offset for passage in document.passages])
    odd: list[str] = []
    for layer in range(options.columns.count("tag")):
        at = 0
        for sentence in sentences:
            tags = [token.tags[layer] for token in sentence]
            for type_, first, last in tagged(tags, options.scheme, odd):
                start, end = places[at + first][0], places[at + last][1]
                gold.mention(f"{layer}-{start}", type_, text[start:end], [(start, end)])
            at += len(sentence)
    gold.settle()
    tell_odd(document, odd, options.scheme)
    return document


def _token(line: str, number: int, options: ConllOptions) -> _Token:
    """Read a line; columns are divided by tabs, in a line without tabs by white space."""
    row = line.split("\t") if "\t" in line else line.split()
    if len(row) != len(options.columns):
        message = f"line {number}: {len(row)} columns, expected {', '.join(options.columns)}"
        raise FormatError("malformed", message)
    cells: dict[str, list[str]] = {}
    for name, cell in zip(options.columns, row, strict=True):
        cells.setdefault(name, []).append(cell.strip())
    token, tags = cells["token"][0], cells["tag"]
    if not token:
        raise FormatError("malformed", f"line {number}: no token")
    for tag in tags:
        match = _TAG.fullmatch(tag)
        if tag != "O" and not (match and match[1] in _PARTS[options.scheme]):
            raise FormatError(
                "malformed", f"line {number}: {tag!r:.80} is no tag of {options.scheme}"
            )
    if "start" not in cells:
        return _Token(token, tags, None)
    start = whole(cells["start"][0])
    if start is None:
        raise FormatError("malformed", f"line {number}: the start is no whole number")
    return _Token(token, tags, start)


def _joined(
    sentences: Sequence[Sequence[_Token]], options: ConllOptions, size: int
) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of the sentences, one a line, and the place of each token in it.

    Where the file states offsets, as many blanks stand between two tokens as these leave room for.
    """
    parts: list[str] = []
    places: list[tuple[int, int]] = []
    length, base = 0, 0
    for number, sentence in enumerate(sentences):
        for at, token in enumerate(sentence):
            if token.start is not None and not places:
                base = token.start
            gap = "\n" if number and not at else ""
            if token.start is not None:
                room = token.start - base - length
                if room < 0 or token.start - base > size:
                    message = f"{token.text!r:.80} at {token.start}: no text comes to this place"
                    raise FormatError("malformed", message)
                gap = (gap + " " * room)[:room]
            elif at and _apart(sentence[at - 1].text, token.text, options.blanks):
                gap = " "
            length += len(gap)
            places.append((length, length + len(token.text)))
            parts += (gap, token.text)
            length += len(token.text)
    return "".join(parts), places


def _apart(one: str, other: str, blanks: str) -> bool:
    """Tell whether a blank stands between two tokens."""
    if blanks == "tidy":
        closed = other[0] in _CLOSING or one[-1] in _OPENING
        return not (closed or other in _HYPHENS or one in _HYPHENS)
    return blanks == "every"


def tagged(
    tags: Sequence[str], scheme: str, odd: list[str]
) -> Iterator[tuple[str | None, int, int]]:
    """Yield (type, number of the first token, of the last) of each mention that tags mark.

    Args:
        tags: the tags of a sentence, in one layer. What is no tag of the scheme is `O`.
        scheme: what they mean.
        odd: gets the tags that should go on with a mention, where there is none.
    """
    begun: tuple[str | None, int] | None = None
    for number, tag in enumerate([*tags, "O"]):
        match = _TAG.fullmatch(tag)
        part = _PARTS[scheme].get(match[1], "O") if match else "O"
        type_ = match[2] if match else None
        goes_on = part in "IE" and begun is not None and begun[0] == type_
        if begun is not None and not goes_on:
            yield *begun, number - 1
            begun = None
        if part in "IE" and not goes_on and scheme != "iob1":
            odd.append(tag)
        if part != "O" and not goes_on:
            begun = (type_, number)
        if part in "ES" and scheme == "iobes" and begun is not None:
            yield *begun, number
            begun = None


def tell_odd(document: Document, odd: Sequence[str], scheme: str) -> None:
    """Record the tags that go on with no mention in the document's errors.

    Args:
        document: the document, whose id the error names.
        odd: the tags that `tagged` noted.
        scheme: what the tags mean.
    """
    if odd:
        message = f"{len(odd)} tags go on with no mention in {scheme}, as {odd[0]}"
        document.errors.append(Failure("gold_tags", document.document_id or "", message))


# --------------------------------------------------------------------------------------- writing


def write(document: Document, annotations: Annotations) -> Written:
    """Write a document as its tokens in IOB2; of nested mentions the outer one is written.

    Tokens are runs of letters and digits, each Chinese character, and each other sign, divided
    where a mention begins or ends. A line break is the end of a sentence, unless a mention goes
    across it.
    """
    text = document.text.translate(_NOT_READ)
    lost: Counter[str] = Counter()
    lost["documents: characters changed"] += text != document.text
    kept = _flat(annotations.mentions, lost)
    edges = {edge for start, end, _ in kept for edge in (start, end)}
    tokens = list(_tokens(text, edges))
    rows: list[str] = []
    read: list[str] = []  # the text as the reader will put it together
    left = kept[::-1]
    inside = (0, 0, "")
    last = 0
    for start, end in tokens:
        begins = bool(left) and left[-1][0] <= start
        while left and left[-1][0] <= start:
            inside = left.pop()
        within = start < inside[1]
        ends = bool(rows) and "\n" in text[last:start] and (begins or not within)
        read += ["\n" if ends else " " if rows else "", text[start:end]]
        rows += [""] * ends
        tag = f"{'B' if begins else 'I'}-{inside[2]}" if within else "O"
        rows.append(f"{text[start:end]}\t{tag}")
        last = end
    lost["documents: other blanks between tokens"] += "".join(read) != text
    lost["relations and events: left out"] += len(annotations.relations) + len(annotations.events)
    lost["labels and texts: left out"] += len(annotations.labels) + len(annotations.texts)
    id_ = " ".join((document.document_id or "").split())
    lost["ids: another spelling"] += id_ != (document.document_id or "")
    head = f"{MARK} ({id_})\tO" if id_ else f"{MARK}\tO"
    return Written({".conll": "\n".join([head, "", *rows, "", ""]).encode()}, +lost)


def _flat(mentions: Sequence[Mention], lost: Counter[str]) -> list[tuple[int, int, str]]:
    """Return (start, end, type) of the mentions that one column of tags holds, in their order."""
    kept: list[tuple[int, int, str]] = []
    located = [m for m in mentions if m.start is not None and not m.spans and m.text.strip()]
    lost["mentions: discontinuous or without a place, left out"] += len(mentions) - len(located)
    for mention in sorted(located, key=lambda m: (m.start or 0, -(m.end or 0))):
        start, end = mention.start or 0, mention.end or 0
        if kept and start < kept[-1][1]:
            lost["mentions: inside or over another, left out"] += 1
            continue
        type_ = "_".join((mention.type or "").split()) or "Untyped"
        lost["types: another spelling"] += type_ != mention.type
        lost["concepts: left out"] += mention.concept is not None
        lost["scores: left out"] += mention.score is not None
        kept.append((start, end, type_))
    return kept


def _tokens(text: str, edges: set[int]) -> Iterator[tuple[int, int]]:
    """Yield the range of each token; none goes across an edge."""
    at = 0
    for _, run in groupby(range(len(text)), key=_Kinds(text, edges)):
        length = sum(1 for _ in run)
        if not text[at].isspace():
            yield at, at + length
        at += length


class _Kinds:
    """Tells the characters of one token from those of the next, in their order."""

    def __init__(self, text: str, edges: set[int]) -> None:
        self._text, self._edges = text, edges
        self._number, self._kind = 0, ""

    def __call__(self, at: int) -> int:
        """Return the number of the token that the character belongs to."""
        character = self._text[at]
        if is_mark(character) and at not in self._edges and self._kind not in ("", "blank"):
            return self._number
        kind = "blank" if character.isspace() else "word" if character.isalnum() else "sign"
        kind = "sign" if is_han(character) else kind
        if kind != self._kind or kind == "sign" or at in self._edges:
            self._number += 1
        self._kind = kind
        return self._number


FORMAT = NamedFormat(
    "conll",
    ConllOptions,
    scan,
    parse,
    "a document or a sentence: tokens, mentions",
    writer=Writer(
        (".conll",),
        write,
        losses="blanks between tokens, mentions inside others, discontinuous or without a place, "
        "concepts, scores, relations, events, labels, texts: left out",
    ),
)
