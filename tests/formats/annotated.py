"""What the tests of formats share: annotated documents, contracts, reading and writing."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

from hypothesis import strategies as st

from taiyi_ray.formats import documents
from taiyi_ray.formats.format import Format
from taiyi_ray.records import (
    Annotations,
    Argument,
    Concept,
    Document,
    Event,
    Mention,
    Relation,
    Span,
    passages,
)

DAY = date(2026, 3, 1)
"""The day that written files say they are of."""


def read(format_: Format, data: bytes | str, name: str = "", **beside: bytes) -> list[Document]:
    """Read all documents of a file; `beside` are others of its name, by ending (txt=...)."""
    data = data.encode() if isinstance(data, str) else data
    name = name or f"a{format_.suffixes[0]}"
    files = {f"a.{ending}": content for ending, content in beside.items()}
    return list(documents(io.BytesIO(data), name, format_, "s", 0, 1 << 40, read=files.get))


def written(
    format_: Format, found: Sequence[tuple[Document, Annotations]]
) -> tuple[dict[str, bytes], Counter[str]]:
    """Write documents to one file of each ending, as an export does."""
    writer = format_.writer
    assert writer is not None
    lost: Counter[str] = Counter()
    files = dict.fromkeys(writer.endings, writer.head(DAY))
    for number, one in enumerate(found):
        record = writer.write(*one)
        assert list(record.parts) == list(writer.endings)
        for ending, part in record.parts.items():
            files[ending] += (writer.between if number else b"") + part
        lost += record.lost
    return {ending: data + writer.tail for ending, data in files.items()}, lost


def read_back(format_: Format, document: Document, annotations: Annotations) -> Document:
    """Write a document and read what was written."""
    files, _ = written(format_, [(document, annotations)])
    assert format_.writer is not None
    *others, ending = format_.writer.endings
    beside = {other.removeprefix("."): files[other] for other in others}
    (back,) = read(format_, files[ending], f"a{ending}", **beside)
    return back


def check_contracts(document: Document) -> None:
    """Ids unique, references there, places inside the text, which says what the mention says."""
    text, gold = document.text, document.gold
    for passage in document.passages:
        assert text[passage.offset : passage.end] == passage.text != ""
    for listed in (gold.mentions, gold.relations, gold.events):
        ids = [one.id for one in listed]
        assert len(set(ids)) == len(ids)
    known = {mention.id for mention in gold.mentions}
    for mention in gold.mentions:
        if mention.start is None:
            assert (mention.end, mention.spans, mention.grounded) == (None, [], "none")
            continue
        assert mention.end is not None
        spans = mention.spans or [Span(mention.start, mention.end)]
        assert all(0 <= span.start < span.end <= len(text) for span in spans)
        assert " ".join(text[span.start : span.end] for span in spans) == mention.text
        assert mention.start == min(span.start for span in spans)
        assert mention.end == max(span.end for span in spans)
        assert mention.grounded in ("exact", "folded")
        if mention.passage is not None:
            passage = document.passages[mention.passage]
            assert passage.offset <= mention.start < passage.end
    for relation in gold.relations:
        assert {*relation.head, *relation.tail} <= known
        assert relation.head_text and relation.tail_text
    for event in gold.events:
        assert event.trigger is None or event.trigger in known
        assert all(a.mention is None or a.mention in known for a in event.arguments)


def comparable(annotations: Annotations) -> dict[str, Any]:
    """The annotations without numbers and passages, in an order of their own."""
    shown = {
        m.id: (m.type, m.text, m.start, m.end, str(m.spans), str(m.concept), m.score)
        for m in annotations.mentions
    }
    return {
        "mentions": sorted(map(str, shown.values())),
        "relations": sorted(
            str((r.type, r.head_text, r.tail_text, r.score))
            + str([sorted(map(str, (shown[n] for n in ids))) for ids in (r.head, r.tail)])
            for r in annotations.relations
        ),
        "events": sorted(
            str((e.type, e.trigger if e.trigger is None else shown[e.trigger]))
            + str([(a.role, a.mention is None or shown[a.mention], a.text) for a in e.arguments])
            for e in annotations.events
        ),
        "labels": annotations.labels,
        "texts": annotations.texts,
    }


# ------------------------------------------------------------------------------------ strategies

TYPES = st.sampled_from(["gene", "cell line", "疾病", "a;b", None])
NAMES = st.sampled_from(["binds", "a b", "导致", "x:y"])
CONCEPTS = st.none() | st.sampled_from(
    [
        Concept("MESH", "D003000"),
        Concept("", "3175"),
        Concept("", "123,456"),
        Concept("NCBI Gene", "7124", "TNF", 0.5),
        Concept("x", "a\tb:c"),
    ]
)
SCORES = st.none() | st.sampled_from([0.5, 0.25, 1.0])
LETTERS = st.sampled_from([*"aab  -βé中🧬.|", "\n", "\r", "\t", "\x0b", "e\u0301", "\u2028"])


@st.composite
def annotated(draw: st.DrawFn, letters: st.SearchStrategy[str] = LETTERS) -> Any:
    """A document with nested, crossing and discontinuous mentions, relations and events."""
    types = draw(
        st.lists(st.sampled_from(["title", "abstract", "results"]), min_size=1, max_size=3)
    )
    parts = [(t, "en", "".join(draw(st.lists(letters, max_size=12)))) for t in types]
    document = Document("1", passages(parts))
    if document.passages and draw(st.booleans()):
        document.title = document.passages[0].text
    gold = Annotations()
    size = len(document.text)
    for number in range(draw(st.integers(0, 4)) if size else 0):
        gold.mentions.append(draw(mention_of(document, number)))
    if gold.mentions:
        some = st.sampled_from(gold.mentions)
        for number in range(draw(st.integers(0, 2))):
            heads, tails = (
                sorted(draw(st.lists(some, min_size=1, max_size=2, unique_by=lambda m: m.id)),
                       key=lambda m: m.id)
                for _ in range(2)
            )  # fmt: skip
            ends = ([m.id for m in heads], [m.id for m in tails])
            texts = (heads[0].text, tails[0].text)
            gold.relations.append(Relation(number, draw(NAMES), *texts, *ends, draw(SCORES)))
        for number in range(draw(st.integers(0, 2))):
            trigger = draw(st.none() | some)
            arguments = [
                Argument(draw(st.sampled_from(["Theme", "Cause", "Site2"])), m.id, m.text)
                for m in draw(st.lists(some, max_size=3))
            ]
            if draw(st.booleans()):
                arguments.append(Argument("Theme", None, "elsewhere"))
            event = Event(number, draw(NAMES), trigger and trigger.id, arguments)
            gold.events.append(event)
    return document, gold


@st.composite
def mention_of(draw: st.DrawFn, document: Document, number: int) -> Mention:
    """A mention of the document: one range, two, or none at all."""
    text = document.text
    kind, type_ = draw(st.sampled_from(["one", "one", "two", "none"])), draw(TYPES)
    rest: dict[str, Any] = {"score": draw(SCORES), "concept": draw(CONCEPTS)}
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4, unique=True))
                  ) if len(text) >= 3 and kind == "two" else []  # fmt: skip
    if kind == "none":
        return Mention(number, type_, "nowhere", None, None, grounded="none", **rest)
    if cuts:
        spans = [Span(cuts[0], cuts[1]), Span(cuts[2], cuts[3])]
    else:
        start = draw(st.integers(0, len(text) - 1))
        spans = [Span(start, draw(st.integers(start + 1, len(text))))]
    start, end = spans[0].start, spans[-1].end
    inside = (n for n, p in enumerate(document.passages) if p.offset <= start < p.end)
    return Mention(
        number,
        type_,
        " ".join(text[span.start : span.end] for span in spans),
        start,
        end,
        spans if len(spans) > 1 else [],
        next(inside, None),
        draw(st.sampled_from(["exact", "folded"])),
        **rest,
    )
