"""brat standoff: a text in one file, its annotations with their offsets in others.

    a.txt    the text
    a.ann    T1<TAB>Protein 0 5;10 14<TAB>TRAF2 gene      a mention, here of two parts
             E1<TAB>Binding:T2 Theme:T1 Theme2:T3         an event: its trigger and arguments
             R1<TAB>Part-Of Arg1:T1 Arg2:T3               a relation
             *<TAB>Equiv T1 T4                            a relation of all of them
             N1<TAB>Reference T1 UniProt:Q12933<TAB>TRAF2 a mention's concept

In the BioNLP shared tasks `a.a1` holds the given mentions and `a.a2` the other annotations. The
format is described at https://brat.nlplab.org/standoff.html. Offsets are half-open and count the
characters of the text, line ends included. A mention that crosses a line end is written in parts,
with the line end between them.

Our records cannot hold attributes, modifiers (`A`, `M`) and notes (`#`): these are counted. An
event that is an argument becomes its trigger. A role loses its number (`Theme2`) if the same role
stands in the event without one.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import plain_text
from taiyi_ray.formats.concepts import concept_of, identifier_of
from taiyi_ray.formats.format import Format, RawRecord, Writer, Written, decoded, whole
from taiyi_ray.formats.gold import Gold, in_order, placed
from taiyi_ray.formats.unmarked import unmarked, unmarked_bytes
from taiyi_ray.records import Annotations, Concept, Document, Event, Mention, Relation

_ROLE_NUMBER = re.compile(r"([^0-9].*?)[0-9]+")
_NOT_OF_NAMES = re.compile(r"[^\w-]+")
_LINE = re.compile("[^\n]+")
_NO_LINE_END = re.compile("[^\n]")
_BREAK = re.compile("[\t\n\r]")

# The reader takes carriage returns for line ends, and refuses NUL.
_NOT_READ = str.maketrans("\r\0", "\n\ufffd")


def scan(stream: BinaryIO) -> Iterator[RawRecord]:
    """Yield the annotations of one document as one record; a file beside it holds the text."""
    yield whole(unmarked(stream), "document")


def parse(raw: RawRecord) -> Document:
    """Turn the text beside the annotations into a Document that has these as gold."""
    if ".txt" not in raw.beside:
        raise FormatError("no_text", "there is no .txt file of this name beside it")
    document = plain_text.parse(RawRecord("text", raw.beside[".txt"]))
    gold = Gold(document, [passage.offset for passage in document.passages])
    lines = []
    for data in (raw.data, unmarked_bytes(raw.beside.get(".a2", b""))):
        lines += [line.removesuffix("\r") for line in decoded(data, "annotations").split("\n")]
    concepts: dict[str, Concept | None] = {}
    for line in lines:
        if line.startswith("N"):
            mention, concept = _concept(line)
            if concepts.setdefault(mention, concept) is not concept:
                gold.leave_out("further concepts of a mention")
    for number, line in enumerate(lines):
        if line.strip() and not _annotation(gold, f"line {number}", line, document.text, concepts):
            gold.leave_out("lines that are not of the format")
    gold.settle()
    return document


def _concept(line: str) -> tuple[str, Concept | None]:
    """The mention and concept of `N1<TAB>Reference T1 DB:ID<TAB>name`."""
    columns = line.split("\t")
    words = columns[1].split(" ", 2) if len(columns) > 1 else []
    concept = concept_of(words[2]) if len(words) > 2 else None
    if concept is not None and len(columns) > 2 and columns[2]:
        concept.name = columns[2]
    return (words[1], concept) if len(words) > 1 else ("", None)


def _annotation(
    gold: Gold, number: str, line: str, text: str, concepts: dict[str, Concept | None]
) -> bool:
    """Add the annotation of a line; return whether it is a line of the format."""
    key, _, rest = line.partition("\t")
    kind, body = key[:1], rest.partition("\t")[0].strip().split(" ")
    if kind == "T":
        return _mention(gold, key, rest, text, concepts.get(key))
    if kind == "*" and len(body) > 2:
        for other in body[2:]:
            gold.relation(number, body[0], [body[1]], [other])
    elif kind == "R" and len(body) == 3:
        (role, one), (other_role, other) = (
            (name, end) for name, _, end in (part.partition(":") for part in body[1:])
        )
        head, tail = in_order((role, one), (other_role, other))
        gold.relation(key, body[0], [head], [tail])
    elif kind == "E":
        type_, _, trigger = body[0].partition(":")
        roles = [part.partition(":") for part in body[1:] if part]
        gold.event(key, type_, trigger or None, _arguments([(r, k) for r, _, k in roles]))
    elif kind in ("A", "M"):
        gold.leave_out("attributes")
    elif kind == "#":
        gold.leave_out("notes")
    else:
        return kind == "N"
    return True


def _mention(gold: Gold, key: str, rest: str, text: str, concept: Concept | None) -> bool:
    head, tab, surface = rest.partition("\t")
    type_, _, where = head.strip().partition(" ")
    if not type_:
        return False
    numbers = [part.partition(" ") for part in where.split(";")]
    ranges, misplaced = placed([(start, end) for start, _, end in numbers])
    ranges = _joined(ranges, text)
    gold.mention(key, type_, surface if tab else None, ranges, misplaced=misplaced, concept=concept)
    return True


def _joined(ranges: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """Join parts that only line ends separate: brat cuts a mention at each line end."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        apart = (
            not joined or start < joined[-1][1] or _NO_LINE_END.search(text, joined[-1][1], start)
        )
        if not apart:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _arguments(roles: Sequence[tuple[str, str]]) -> list[tuple[str, str | None, str]]:
    """Make arguments of (role, key); a role loses its number if it is also there without one."""
    names = {role for role, _ in roles}
    arguments: list[tuple[str, str | None, str]] = []
    for role, key in roles:
        numbered = _ROLE_NUMBER.fullmatch(role)
        arguments.append((numbered[1] if numbered and numbered[1] in names else role, key, ""))
    return arguments


# --------------------------------------------------------------------------------------- writing


def write(document: Document, annotations: Annotations) -> Written:
    """Write a document as a text and its annotations."""
    text = document.text.translate(_NOT_READ)
    if text.startswith("\ufeff"):
        text = " " + text[1:]
    lost: Counter[str] = Counter()
    lost["documents: passages become one text"] += len(document.passages) > 1
    lost["documents: characters changed"] += text != document.text
    located = {m.id: m for m in annotations.mentions if m.start is not None}
    lost["mentions without offsets: left out"] += len(annotations.mentions) - len(located)
    lines = [_written_mention(mention, text, lost) for mention in located.values()]
    lines += _written_concepts(located.values(), lost)
    for relation in annotations.relations:
        lines += _written_relation(relation, located, lost)
    lines += [_written_event(event, located, lost) for event in annotations.events]
    lost["labels and texts: left out"] += len(annotations.labels) + len(annotations.texts)
    ann = "".join(f"{line}\n" for line in lines)
    return Written({".txt": text.encode(), ".ann": ann.encode()}, +lost)


def _name(name: str | None, lost: Counter[str]) -> str:
    """Spell a type or role as brat allows it: with word characters and hyphens."""
    written = _NOT_OF_NAMES.sub("_", name or "") or "Untyped"
    lost["types: another spelling"] += written != name
    return written


def _written_mention(mention: Mention, text: str, lost: Counter[str]) -> str:
    assert mention.start is not None and mention.end is not None
    parts = [(s.start, s.end) for s in mention.spans] or [(mention.start, mention.end)]
    ranges = [
        (start + line.start(), start + line.end())
        for start, end in parts
        for line in _LINE.finditer(text[start:end])
    ]
    if not ranges:  # the mention holds only line ends
        ranges = parts
    lost["mentions: parts joined or cut at line ends"] += _joined(ranges, text) != parts
    lost["scores: left out"] += mention.score is not None
    offsets = ";".join(f"{start} {end}" for start, end in ranges)
    surface = " ".join(text[start:end] for start, end in ranges).replace("\n", " ")
    return f"T{mention.id}\t{_name(mention.type, lost)} {offsets}\t{surface}"


def _written_concepts(mentions: Iterable[Mention], lost: Counter[str]) -> Iterator[str]:
    for mention in mentions:
        if concept := mention.concept:
            id_, name = (_BREAK.sub("_", s) for s in (identifier_of(concept), concept.name or ""))
            line = f"N{mention.id}\tReference T{mention.id} {id_}\t{name}"
            lost["concepts: score left out, or another spelling"] += _concept(line)[1] != concept
            yield line


def _written_relation(
    relation: Relation, located: dict[int, Mention], lost: Counter[str]
) -> Iterator[str]:
    """Write a relation between the two mentions, of all at its ends, that are closest."""
    heads, tails = (
        [located[n] for n in ids if n in located] for ids in (relation.head, relation.tail)
    )
    if not heads or not tails:
        lost["relations of mentions without offsets: left out"] += 1
        return
    head, tail = _closest(heads, tails)
    ends = ([head.id], [tail.id], head.text, tail.text, None)
    stated = (relation.head, relation.tail, relation.head_text, relation.tail_text, relation.score)
    lost["relations: of the two closest mentions alone, scores left out"] += ends != stated
    yield f"R{relation.id}\t{_name(relation.type, lost)} Arg1:T{head.id} Arg2:T{tail.id}"


def _closest(heads: Sequence[Mention], tails: Sequence[Mention]) -> tuple[Mention, Mention]:
    """Return the head and the tail whose beginnings are nearest to each other."""
    first = {_start(tail): tail for tail in reversed(tails)}
    starts = sorted(first)
    best: tuple[int, Mention, Mention] | None = None
    for head in heads:
        at = bisect_left(starts, _start(head))
        for start in starts[max(0, at - 1) : at + 1]:
            distance = abs(_start(head) - start)
            if best is None or distance < best[0]:
                best = (distance, head, first[start])
    assert best is not None
    return best[1:]


def _start(mention: Mention) -> int:
    return mention.start or 0


def _written_event(event: Event, located: dict[int, Mention], lost: Counter[str]) -> str:
    trigger = event.trigger if event.trigger in located else None
    lost["triggers without offsets: left out"] += trigger != event.trigger
    words = [_name(event.type, lost) + (f":T{trigger}" if trigger is not None else "")]
    roles: Counter[str] = Counter()
    written = []
    for argument in event.arguments:
        mention = located.get(argument.mention) if argument.mention is not None else None
        if mention is None or mention.text != argument.text:
            lost["arguments: without a mention left out, their own texts too"] += 1
        if mention is not None:
            role = _name(argument.role, lost)
            roles[role] += 1
            number = str(roles[role]) if roles[role] > 1 else ""
            written.append((role, f"{role}{number}", f"T{mention.id}"))
    read = [role for role, _, _ in _arguments([(role, key) for _, role, key in written])]
    lost["types: another spelling"] += read != [role for role, _, _ in written]
    words += [f"{role}:{key}" for _, role, key in written]
    return f"E{event.id}\t{' '.join(words)}"


FORMAT = Format(
    "brat",
    (".ann", ".a1"),
    scan,
    parse,
    "a file and its text: mentions, events, relations, concepts",
    beside={".ann": (".txt",), ".a1": (".txt", ".a2")},
    writer=Writer(
        (".txt", ".ann"),
        write,
        apart=True,
        losses="passages become one text, a relation that of the two closest mentions; scores, "
        "labels, texts, and what has no offsets: left out; names of types are spelt with `_`",
    ),
)
