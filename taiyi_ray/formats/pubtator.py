"""PubTator: title, abstract, mentions and relations of concepts, in lines.

    2234245|t|Ocular myasthenia during treatment.
    2234245|a|We report a patient ...
    2234245<TAB>0<TAB>17<TAB>Ocular myasthenia<TAB>Disease<TAB>MESH:D009157
    2234245<TAB>CID<TAB>MESH:D010396<TAB>MESH:D009157

NCBI's tools write this format (https://www.ncbi.nlm.nih.gov/research/pubtator3/tutorial, Wei et al.
2013, doi:10.1093/nar/gkt441). Offsets are half-open and count the characters of the title, of one
separator and of the abstract; real files also count in other ways (gold.py). The line of a mention
may lack the identifier, or have further columns, which are not read. A relation is one between all
mentions of two concepts. It may name a concept by another identifier than they do (concepts.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, Final

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language
from taiyi_ray.formats.concepts import ByConcept, concept_of, identifier_of
from taiyi_ray.formats.format import Format, RawRecord, Writer, Written, decoded
from taiyi_ray.formats.gold import Gold, placed
from taiyi_ray.formats.json_lines import lines
from taiyi_ray.formats.line_record import LineRecord
from taiyi_ray.records import Annotations, Document, Mention, passages

_TEXT = re.compile(rb"([^|\s]+)\|([a-z])\|")
_TYPES: Final = {"t": "title", "a": "abstract"}

# The characters that end a line or a column. A blank has the same length, so that offsets stay.
_BREAKS = str.maketrans("\n\r\t", "   ")


def recognises(head: bytes) -> bool:
    """Tell whether the first line that is not blank is a title."""
    match = _TEXT.match(head.lstrip())
    return match is not None and match[2] == b"t"


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the documents; a document begins with a title, or with a text of another id."""
    record, id_ = LineRecord("document"), None
    nothing = True
    for line in lines(stream):
        if line is not None and not line.strip():
            continue
        nothing = False
        match = _TEXT.match(line) if line is not None else None
        # The content of a line over the limit is unknown: it is taken for the start of a document.
        if line is None or (match and (match[2] == b"t" or match[1] != id_)):
            yield from record.taken()
            id_ = match[1] if match else None
        record.add(line)
    yield from record.taken()
    if nothing:
        yield RawRecord.broken("empty", "the file is empty")


def parse(raw: RawRecord) -> Document:
    """Turn the lines of one document into a Document with its gold annotations."""
    texts: dict[str, str] = {}
    rows: list[list[str]] = []
    document_id = None
    for line in decoded(raw.data, "document").split("\n"):
        match = _TEXT.match(line.encode())
        if match:
            document_id = document_id or match[1].decode().strip()
            kind = match[2].decode()
            if kind not in _TYPES or kind in texts:
                raise FormatError("malformed", f"a second or unknown text |{kind}| in a document")
            texts[kind] = line.split("|", 2)[2]
        else:
            rows.append(line.split("\t"))
    if not document_id:
        raise FormatError("malformed", f"expected ID|t|TITLE, found {rows[0][0][:80]!r}")
    title, abstract = texts.get("t", ""), texts.get("a", "")
    parts = (("title", title), ("abstract", abstract))
    laid = passages((type_, language.of_text(text), text) for type_, text in parts)
    document = Document(document_id, laid, title=title or None)
    bases = [base for base, text in ((0, title), (len(title) + 1, abstract)) if text]
    gold = Gold(document, bases)
    for number, row in enumerate(rows):
        _row(gold, str(number), row, document_id)
    gold.settle()
    return document


def _row(gold: Gold, key: str, row: list[str], document_id: str) -> None:
    """Add the annotation of a line below the texts."""
    if row[0].strip() != document_id or len(row) < 4:
        gold.leave_out("lines that are not of the format")
    elif not _is_relation(row[1]):
        type_ = row[4].strip() if len(row) > 4 else ""
        concept = concept_of(row[5]) if len(row) > 5 else None
        ranges, misplaced = placed([(row[1], row[2])])
        gold.mention(key, type_ or None, row[3], ranges, misplaced=misplaced, concept=concept)
    else:
        type_, head, tail = (column.strip() for column in row[1:4])
        gold.relation_of_concepts(f"relation {key}", type_, head, tail)


def _is_relation(column: str) -> bool:
    """Whether the second column is the type of a relation, and not an offset, valid or not."""
    try:
        float(column or "0")
    except ValueError:
        return not column.isspace()
    return False


# --------------------------------------------------------------------------------------- writing


def write(document: Document, annotations: Annotations) -> Written:
    """Write a document; the passages behind the title become one abstract of the same length."""
    lost: Counter[str] = Counter()
    id_ = re.sub(r"[|\s]", "_", document.document_id or "")
    first = document.passages[:1]
    title = first[0].text if first and first[0].type == "title" else ""
    # The abstract is the text behind the title. Without a title it is the whole text, which then
    # begins one character behind the empty title.
    whole = document.text
    behind = whole[len(title) + 1 :] if title else whole
    shift = 0 if title else 1
    texts = (("t", title.translate(_BREAKS)), ("a", behind.translate(_BREAKS)))
    out = [f"{id_}|{kind}|{text}" for kind, text in texts]
    read = [(_TYPES[kind], text) for kind, text in texts if text]
    changed = id_ != document.document_id or read != [(p.type, p.text) for p in document.passages]
    lost["documents: other passages, line breaks or ids"] += changed
    for mention in annotations.mentions:
        if mention.start is None or mention.end is None:
            lost["mentions without offsets: left out"] += 1
            continue
        lost["discontinuous mentions: written as one range"] += bool(mention.spans)
        lost["scores: left out"] += mention.score is not None
        concept, differs = _identifier(mention)
        lost["concepts: name and score left out, or another spelling"] += differs
        text = whole[mention.start : mention.end].translate(_BREAKS)
        offsets = f"{mention.start + shift}\t{mention.end + shift}"
        type_ = (mention.type or "").translate(_BREAKS)
        lost["types: another spelling"] += type_.strip() != (mention.type or "")
        out.append(f"{id_}\t{offsets}\t{text}\t{type_}\t{concept}")
    _write_relations(annotations, id_, out, lost)
    lost["events: left out"] += len(annotations.events)
    lost["labels and texts: left out"] += len(annotations.labels) + len(annotations.texts)
    return Written({".pubtator": "\n".join([*out, "\n"]).encode()}, +lost)


def _identifier(mention: Mention) -> tuple[str, bool]:
    """The column of a mention's concept, and whether reading it gives another concept."""
    written = identifier_of(mention.concept).translate(_BREAKS) if mention.concept else "-"
    return written, concept_of(written) != mention.concept


def _write_relations(
    annotations: Annotations, id_: str, out: list[str], lost: Counter[str]
) -> None:
    located = [mention for mention in annotations.mentions if mention.start is not None]
    by_number = {mention.id: mention for mention in located}
    by_concept = ByConcept(located)
    for relation in annotations.relations:
        ends = []
        same = relation.score is None
        for ids, text in (
            (relation.head, relation.head_text),
            (relation.tail, relation.tail_text),
        ):
            concepts = [m.concept for n in ids if (m := by_number.get(n)) and m.concept]
            if concepts:
                ends.append(identifier_of(concepts[0]).translate(_BREAKS))
                read = by_concept.named(ends[-1])
                same &= len(read) == len(ids) and [m.id for m in read] == ids
                same &= [m.text for m in read[:1]] == [text]
        if len(ends) == 2:
            lost["relations: of other mentions of the same concepts too"] += not same
            type_ = relation.type.translate(_BREAKS).strip()
            type_ = type_ if _is_relation(type_) else f"_{type_}"
            lost["types: another spelling"] += type_ != relation.type
            out.append("\t".join([id_, type_, *ends]))
        else:
            lost["relations of mentions without a concept: left out"] += 1


FORMAT = Format(
    "pubtator",
    (".pubtator", ".txt"),
    scan,
    parse,
    "a document: title and abstract, mentions, relations of concepts",
    recognises=recognises,
    writer=Writer(
        (".pubtator",),
        write,
        losses="passages behind the title become one abstract, line breaks and tabs blanks; "
        "mentions without offsets, relations without an end or a concept: left out; "
        "discontinuous mentions become one range",
    ),
)
