"""brat: a text and its annotations in one file or two, as they are read and written."""

from __future__ import annotations

import pytest

from taiyi_ray.formats import brat
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
from tests.formats.annotated import check_contracts, read

TEXT = "TRAF2 binds CD40 🧬 and\nCD30 kinases."
ANN = """\
T1\tProtein 0 5\tTRAF2
T2\tProtein 12 16\tCD40
T3\tProtein 23 27\tCD30
T4\tBinding 6 11\tbinds
T5\tFamily 12 16;28 35\tCD40 kinases
E1\tBinding:T4 Theme:T1 Theme2:T2 Site2:T3
E2\tRegulation Cause:E1 Theme:E3
E3\tLocalization
R1\tPart-Of Arg1:T2 Arg2:T5
*\tEquiv T1 T2 T3
N1\tReference T1 UniProt:Q12933\tTRAF 2
N2\tReference T1 UniProt:Q00000\tother
A1\tNegation E1
M1\tSpeculation E1
#1\tAnnotatorNotes T1\ta note
"""


def only(ann: str, text: str | bytes = TEXT, **beside: bytes) -> Document:
    data = text.encode() if isinstance(text, str) else text
    (document,) = read(brat.FORMAT, ann, "a.ann", txt=data, **beside)
    check_contracts(document)
    return document


def test_every_kind_of_line() -> None:
    document = only(ANN)
    gold = document.gold
    assert (document.document_id, document.text) == ("a", TEXT)
    assert [(m.id, m.type, m.text, m.start, m.spans) for m in gold.mentions] == [
        (1, "Protein", "TRAF2", 0, []),
        (2, "Protein", "CD40", 12, []),
        (3, "Protein", "CD30", 23, []),
        (4, "Binding", "binds", 6, []),
        (5, "Family", "CD40 kinases", 12, [Span(12, 16), Span(28, 35)]),
    ]
    assert gold.mentions[0].concept == Concept("UniProt", "Q12933", "TRAF 2")
    assert gold.events == [
        Event(
            1,
            "Binding",
            4,
            [
                Argument("Theme", 1, "TRAF2"),
                Argument("Theme", 2, "CD40"),
                Argument("Site2", 3, "CD30"),
            ],
        ),
        Event(
            2,
            "Regulation",
            None,
            [Argument("Cause", 4, "binds"), Argument("Theme", None, "Localization")],
        ),
        Event(3, "Localization", None, []),
    ]
    assert [(r.type, r.head, r.tail) for r in gold.relations] == [
        ("Part-Of", [2], [5]),
        ("Equiv", [1], [2]),
        ("Equiv", [1], [3]),
    ]
    assert [(e.kind, e.message) for e in document.errors] == [
        ("gold_left_out", "1 further concepts of a mention; 2 attributes; 1 notes")
    ]


def test_given_mentions_and_answers_in_two_files() -> None:
    lines = ANN.splitlines(keepends=True)
    (document,) = read(
        brat.FORMAT,
        "".join(lines[:3]),
        "a.a1",
        txt=TEXT.encode(),
        a2="".join(lines[3:6]).encode(),
    )
    assert len(document.gold.mentions) == 5
    assert document.gold.events[0].trigger == 4


def test_a_mention_over_a_line_end_is_one_range() -> None:
    for place in ("19 22;23 27", "19 27"):
        (mention,) = only(f"T1\tX {place}\tand CD30\n").gold.mentions
        assert (mention.text, mention.start, mention.end, mention.spans) == (
            "and\nCD30",
            19,
            27,
            [],
        )


def test_offsets_that_count_carriage_returns() -> None:
    text = TEXT.replace("\n", "\r\n").encode()
    document = only("T1\tX 24 28\tCD30\nT2\tX 0 5\tTRAF2\r\n", text)
    assert [(m.text, m.start) for m in document.gold.mentions] == [("CD30", 23), ("TRAF2", 0)]
    assert document.text == TEXT


def test_repeated_ids_and_references_to_nothing() -> None:
    document = only("T1\tX 0 5\tTRAF2\nT1\tX 12 16\tCD40\nR1\tr Arg1:T1 Arg2:T9\nE1\tY:T8 Z:T7\n")
    assert [m.id for m in document.gold.mentions] == [0, 1]
    assert document.gold.relations == []
    assert document.gold.events == [Event(1, "Y", None, [])]
    assert {e.kind: e.message for e in document.errors} == {
        "gold_repeated_id": "1 ids belong to more than one annotation, as in T1",
        "gold_reference": "3 references name annotations that do not exist, as in T9",
    }


@pytest.mark.parametrize(
    ("line", "kept"),
    [("T1\tX", 0), ("T1\tX 0", 0), ("T1\t", 0), ("T1 X 0 5", 0), ("T1\tX 0 5", 1), ("zz", 0)],
)
def test_lines_of_no_form(line: str, kept: int) -> None:
    document = only(line + "\n")
    assert len(document.gold.mentions) == kept
    assert [e.kind for e in document.errors] == ([] if kept else ["gold_left_out"])


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("", "nothing to nothing"),
        (" 0", "'0' to nothing"),
        (" -1 5", "'-1' to '5'"),
        (" 0 4.5", "'0' to '4.5'"),
        (" 0 5;x 9", "'x' to '9'"),
        (" 0 " + "9" * 5000, "'0' to '999"),
    ],
)
def test_a_place_that_is_none_costs_the_mention_its_place_alone(where: str, told: str) -> None:
    document = only(f"T1\tX{where}\tTRAF2\nT2\tX 12 16\tCD40\nR1\tr Arg1:T1 Arg2:T2\n")
    bad, good = document.gold.mentions
    assert (bad.text, bad.start, bad.grounded, good.start) == ("TRAF2", None, "none", 12)
    assert [(r.head, r.tail) for r in document.gold.relations] == [([1], [2])]
    (error,) = document.errors
    assert error.kind == "gold_offsets"
    assert f"'TRAF2' at {told}" in error.message


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        ("Arg1:T1 Arg2:T2", (1, 2)),
        ("Arg2:T2 Arg1:T1", (1, 2)),
        ("arg2:T1 Arg1:T2", (2, 1)),
        ("Arg10:T2 Arg9:T1", (1, 2)),
        ("Object:T2 Subject:T1", (1, 2)),
        ("Anaphora:T2 Antecedent:T1", (2, 1)),  # names that say no order
        ("Arg1:T2 Arg1:T1", (2, 1)),
    ],
)
def test_the_roles_of_a_relation_say_what_is_head_and_tail(line: str, ends: object) -> None:
    document = only(f"T1\tX 0 5\tTRAF2\nT2\tX 12 16\tCD40\nR1\tr {line}\n")
    (relation,) = document.gold.relations
    assert (*relation.head, *relation.tail) == ends


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_no_line_is_lost_to_a_byte_order_mark(encoding: str) -> None:
    given, found = "T1\tProtein 0 5\tTRAF2\n", "T2\tBinding 6 11\tbinds\nE1\tBinding:T2 Theme:T1\n"
    txt = TEXT.encode("utf-16" if encoding == "utf-16" else "utf-8-sig")
    one = read(brat.FORMAT, (given + found).encode(encoding), "a.ann", txt=txt)
    two = read(brat.FORMAT, given.encode(encoding), "a.a1", txt=txt, a2=found.encode(encoding))
    for (document,) in (one, two):
        assert [m.text for m in document.gold.mentions] == ["TRAF2", "binds"]
        assert document.gold.events == [Event(1, "Binding", 2, [Argument("Theme", 1, "TRAF2")])]
        assert (document.text, document.errors) == (TEXT, [])


@pytest.mark.parametrize(
    ("ann", "text", "kind"),
    [
        (b"", None, "no_text"),
        (b"\xff", b"x", "encoding"),
        (b"", b"\xff\xfe\xfd", "encoding"),
    ],
)
def test_broken_files(ann: bytes, text: bytes | None, kind: str) -> None:
    (document,) = read(brat.FORMAT, ann, "a.ann", **({"txt": text} if text else {}))
    assert (document.status, document.errors[0].kind) == ("failed", kind)


def test_writing() -> None:
    document = Document("d", passages([("title", "en", "A b"), ("abstract", "en", "A c d")]))
    found = Annotations(
        [
            Mention(0, "cell line", "A", 0, 1, concept=Concept("MESH", "D1", "an A")),
            Mention(1, "cell line", "A", 4, 5),
            Mention(2, None, "b\nA", 2, 5, score=0.5),
            Mention(3, "x", "A d", 4, 9, [Span(4, 5), Span(8, 9)]),
            Mention(4, "x", "gone", None, None, grounded="none"),
        ],
        [Relation(0, "treats", "b\nA", "A", [2], [0, 1]), Relation(1, "r", "A", "gone", [0], [4])],
        [Event(0, "Binding", 2, [Argument("Theme", 0, "A"), Argument("Theme", 3, "A d")])],
    )
    written = brat.write(document, found)
    assert written.parts[".txt"] == b"A b\nA c d"
    assert written.parts[".ann"].decode().splitlines() == [
        "T0\tcell_line 0 1\tA",
        "T1\tcell_line 4 5\tA",
        "T2\tUntyped 2 3;4 5\tb A",
        "T3\tx 4 5;8 9\tA d",
        "N0\tReference T0 MESH:D1\tan A",
        "R0\ttreats Arg1:T2 Arg2:T0",
        "E0\tBinding:T2 Theme:T0 Theme2:T3",
    ]
    assert written.lost == {
        "documents: passages become one text": 1,
        "mentions without offsets: left out": 1,
        "types: another spelling": 3,
        "scores: left out": 1,
        "relations: of the two closest mentions alone, scores left out": 1,
        "relations of mentions without offsets: left out": 1,
    }


class Counted(Mention):
    """A mention that counts how often it is asked where it begins."""

    asked = 0

    @property
    def start(self) -> int:
        Counted.asked += 1
        return self._at

    @start.setter
    def start(self, at: int) -> None:
        self._at = at


@pytest.mark.parametrize("mentions", [100, 200, 400])
def test_a_relation_of_many_mentions_is_written_in_linear_time(mentions: int) -> None:
    document = Document("d", passages([("text", "en", "ab" * mentions)]))
    heads = [Counted(2 * n, "x", "a", 2 * n, 2 * n + 1) for n in range(mentions)]
    tails = [Counted(2 * n + 1, "x", "b", 2 * n + 1, 2 * n + 2) for n in range(mentions)]
    ends = ([m.id for m in heads], [m.id for m in tails])
    found = Annotations([*heads, *tails], [Relation(0, "r", "a", "b", *ends)])
    Counted.asked = 0
    written = brat.write(document, found)
    assert written.parts[".ann"].decode().endswith("R0\tr Arg1:T0 Arg2:T1\n")
    assert Counted.asked < 20 * mentions
