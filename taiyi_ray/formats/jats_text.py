"""The passages of a JATS element: how each element of the tag set relates to the text around it.

The tag set is described at https://jats.nlm.nih.gov (Archiving and Interchange 1.4, which includes
Publishing; a few names are from the older NLM DTDs, from CALS tables or from no standard).
`ELEMENTS` has a rule for every element that may stand below a title, an abstract, the body or the
back matter. One pass over the tree takes each character once.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple

from taiyi_ray.formats import language
from taiyi_ray.formats.xml_elements import Element, formula, local_name, tidy

Part = tuple[str, str]
"""Type and text of a passage."""


class Around(Enum):
    """How an element relates to the text around it."""

    FLOWS = auto()
    """Its text continues the line that it stands in."""
    SPACED = auto()
    """In a sentence its text is separate words; elsewhere it is a passage of its own."""
    BLOCK = auto()
    """It ends the passage before it. Content an `Content.LINE` it is like SPACED."""
    APART = auto()
    """Its passages follow the passage around it, whose sentence continues behind the element."""
    SKIPPED = auto()
    """It is not read. The texts before and behind it do not become one word."""


class Content(Enum):
    """What an element holds."""

    TEXT = auto()
    """Running text."""
    PARTS = auto()
    """Elements that are independent of each other."""
    LINE = auto()
    """One passage, whatever elements it holds; those that are `Around.APART` are no part of it."""
    ONE = auto()
    """The same thing in more than one form: the first form that has text is read."""


# Marks in the pieces of a passage until all of it is known. XML cannot hold these characters.
_HOLE: Final = "\0"
_ROW: Final = "\1"
_CELL: Final = "\2"
_MEANING: Final = "\3"


class Rule(NamedTuple):
    """How an element is read.

    Attributes:
        around: how it relates to the text around it.
        inside: what it holds.
        type: the type of the passages that begin in it; None for the type of the element around it.
        captioned: whether its label and its caption are one passage. In other elements a caption is
            paragraphs, and a label is not read.
        border: the mark before it in a line; if this is a hole, it stands behind the element, too.
    """

    around: Around
    inside: Content
    type: str | None = None
    captioned: bool = False
    border: str = " "


_SKIPPED: Final = Rule(Around.SKIPPED, Content.TEXT)
_UNKNOWN: Final = Rule(Around.SPACED, Content.TEXT, border=_HOLE)
_LABEL: Final = Rule(Around.FLOWS, Content.TEXT)
_CAPTION: Final = Rule(Around.FLOWS, Content.LINE)

_NAMES: Final[tuple[tuple[Rule, str], ...]] = (
    # Inline markup, links, and the words of a citation that has its own punctuation.
    (
        Rule(Around.FLOWS, Content.TEXT),
        """bold fixed-case italic monospace overline roman sans-serif sc strike styled-content sub
        sup underline milestone-end milestone-start overline-end overline-start underline-end
        underline-start target x abbrev named-content private-char rb ruby textual-form
        chem-struct inline-formula email ext-link inline-supplementary-material related-article
        related-object uri xref award-desc award-id award-name funding-source support-source
        access-date addr-line annotation anonymous article-title chapter-title city citation
        collab collab-name comment compound-kwd-part compound-subject-part conf-acronym conf-date
        conf-loc conf-name conf-sponsor country data-title date-in-citation day degrees edition
        elocation-id era etal fax fpage given-names gov institution isbn issn issn-l issue
        issue-part issue-title lpage mixed-citation month on-behalf-of page-range part-title
        patent person-group phone postal-code prefix pub-id publisher-loc publisher-name role
        season series size source state std std-organization string-date string-name suffix
        supplement surname time-stamp trans-source trans-subtitle trans-title version volume
        volume-series year tbody tfoot tgroup thead col colgroup colspec spanspec""",
    ),
    # The words of a citation, a name or an address without punctuation.
    (
        Rule(Around.FLOWS, Content.PARTS),
        """address collab-wrap contrib date element-citation institution-wrap name nlm-citation""",
    ),
    (
        Rule(Around.FLOWS, Content.ONE),
        """alternatives block-alternatives citation-alternatives collab-alternatives
        collab-name-alternatives name-alternatives""",
    ),
    (Rule(Around.SPACED, Content.TEXT), "break hr"),
    (Rule(Around.SPACED, Content.TEXT, "formula", border=_HOLE), "disp-formula math"),
    (Rule(Around.SPACED, Content.PARTS, "formula", border=_HOLE), "disp-formula-group"),
    (
        Rule(Around.BLOCK, Content.TEXT),
        """p attrib code preformat sig sig-block speaker term unstructured-kwd-group verse-line kwd
        subject""",
    ),
    (Rule(Around.BLOCK, Content.TEXT, "heading"), "title subtitle def-head term-head"),
    # Sections, lists, quotations and all else that holds paragraphs.
    (
        Rule(Around.BLOCK, Content.PARTS),
        """abstract ack answer answer-set app app-group author-comment back bio body caption
        compound-kwd compound-subject def-list disp-quote explanation floats-group fn-group
        gloss-group glossary legend list list-item nested-kwd note notes option question
        question-preamble question-wrap question-wrap-group sec sec-meta speech statement
        trans-abstract""",
    ),
    (Rule(Around.BLOCK, Content.PARTS, "footnote"), "table-wrap-foot"),
    (Rule(Around.BLOCK, Content.LINE), "def-item kwd-group subj-group verse-group"),
    (Rule(Around.SPACED, Content.LINE, border=_MEANING), "def"),
    (Rule(Around.APART, Content.LINE, "footnote"), "fn"),
    (Rule(Around.APART, Content.PARTS), "boxed-text"),
    (
        Rule(Around.APART, Content.PARTS, "figure", captioned=True),
        "chem-struct-wrap fig fig-group graphic",
    ),
    (
        Rule(Around.APART, Content.PARTS, "supplement", captioned=True),
        "media supplementary-material",
    ),
    (
        Rule(Around.APART, Content.PARTS, "table_caption", captioned=True),
        "table-wrap table-wrap-group",
    ),
    (Rule(Around.APART, Content.LINE, "table"), "table array"),
    (Rule(Around.BLOCK, Content.LINE, border=_ROW), "tr row"),
    (Rule(Around.BLOCK, Content.TEXT, border=_CELL), "td th entry"),
    # References, TeX, ids, data of authors, graphics, index terms, other articles.
    (
        _SKIPPED,
        """ref ref-list tex-math glyph-data glyph-ref inline-graphic inline-media alt-text long-desc
        alt-title rp rt aff aff-alternatives author-notes contrib-group contrib-id
        custom-meta-group institution-id page-count issue-id journal-id object-id volume-id
        history index-term index-term-range-end see see-also open-access permissions response
        sub-article""",
    ),
)

ELEMENTS: Final[dict[str, Rule]] = {name: rule for rule, names in _NAMES for name in names.split()}
"""The rule of each element by its name. A `label` is part of a caption or is not read. An element
without a rule here is read, as separate words."""

_NOTES: Final = frozenset({"bibr", "fn", "table-fn"})


def read(
    element: Element,
    type_: str,
    inside: Content = Content.PARTS,
    section_type: Callable[[Element], str] | None = None,
) -> Iterator[Part]:
    """Yield the passages of an element, in order; no character is in two of them.

    Args:
        element: an element of the article, of any size.
        type_: the type of its passages, unless an inner element has a type of its own.
        inside: what the element holds; `Content.LINE` makes its text one passage, the first.
        section_type: gives the type of the passages in each child of the element.
    """
    one = inside is Content.LINE
    root = _Frame(Rule(Around.BLOCK, inside), type_, sentence=one, in_line=one)
    walk = _Walk()
    walk.begin(root)
    walk.take(element.text, root)
    stack = [(element, iter(element), root)]
    while stack:
        holder, children, frame = stack[-1]
        child = next(children, None)
        if child is None:
            stack.pop()
            if stack:
                outer = stack[-1][2]
                walk.leave(frame, outer)
                walk.take(holder.tail, outer)
        elif (inner := walk.enter(child, frame)) is None:
            walk.take(child.tail, frame)
        else:
            if frame is root and section_type is not None and inner.rule.type is None:
                inner.type = section_type(child)
            walk.begin(inner)
            walk.take(child.text, inner)
            stack.append((child, iter(child), inner))
    for passage in walk.passages:
        text = _finished("".join(passage.pieces))
        if text.strip():
            yield passage.type, text


def line(element: Element | None) -> str:
    """Return the text of an element in a line, without elements that are APART; empty for None."""
    parts = [] if element is None else read(element, "", Content.LINE)
    return next((text for type_, text in parts if not type_), "")


@dataclass(slots=True)
class _Passage:
    """A passage that is being read.

    Attributes:
        type: its type.
        pieces: its text so far, with the marks above.
    """

    type: str
    pieces: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Frame:
    """An element that is being read.

    Attributes:
        rule: its rule.
        type: the type of the passages that begin in it.
        sentence: whether its text is a sentence, which continues behind inner elements.
        in_line: whether it is, or is in, an element that is one passage (`Content.LINE`).
        outer: the passage that continues behind it.
        taken: the number of pieces of text that were taken before it.
        answered: whether it holds more than one form of the same thing, one of which was read.
    """

    rule: Rule
    type: str
    sentence: bool
    in_line: bool
    outer: _Passage | None = None
    taken: int = 0
    answered: bool = False


class _Walk:
    """The passages that were begun, in order.

    Attributes:
        passages: the passages.
        open: the passage that the next text belongs to; None between passages.
        taken: the number of pieces of text that were taken.
    """

    def __init__(self) -> None:
        self.passages: list[_Passage] = []
        self.open: _Passage | None = None
        self.taken = 0

    def enter(self, element: Element, frame: _Frame) -> _Frame | None:
        """Enter an element; return None if the walk must not go into it."""
        if frame.answered:
            return None
        name = local_name(element)
        rule = _rule(name, element, frame)
        around, inside = rule.around, rule.inside
        if around is Around.SKIPPED:
            self._put(_HOLE)
            return None
        in_line = inside is Content.LINE or (frame.in_line and around is not Around.APART)
        sentence = in_line or inside is Content.TEXT
        sentence |= frame.sentence and around in (Around.FLOWS, Around.SPACED)
        inner = _Frame(rule, rule.type or frame.type, sentence, in_line, taken=self.taken)
        if around is Around.APART and frame.sentence:
            self._put(_HOLE)
            inner.outer, self.open = self.open, None
        elif around is Around.FLOWS:
            self._part(frame)
        else:
            self._border(inner, frame, rule.border)
        if name != "math":
            return inner
        self.begin(inner)
        self.take(formula(element), inner)
        self.leave(inner, frame)
        return None

    def begin(self, frame: _Frame) -> None:
        """Begin a passage if the element holds text, so that passages that are APART follow it."""
        if frame.rule.inside in (Content.TEXT, Content.LINE) and self.open is None:
            self._begin(frame.type)

    def leave(self, frame: _Frame, outer: _Frame) -> None:
        """Leave an element at its end."""
        if frame.rule.around is Around.APART and outer.sentence:
            self.open = frame.outer
        elif frame.rule.around is not Around.FLOWS:
            self._border(frame, outer, _HOLE if frame.rule.border == _HOLE else " ")
        outer.answered = outer.rule.inside is Content.ONE and self.taken > frame.taken

    def take(self, text: str | None, frame: _Frame) -> None:
        """Add text that stands directly in an element."""
        if not text:
            return
        if not text.isspace():
            self._part(frame)
            self.taken += 1
            if self.open is None:
                self._begin(frame.type)
        if frame.rule.inside is not Content.PARTS or not text.isspace():
            self._put(text)

    def _part(self, frame: _Frame) -> None:
        """Separate a part of an element from the parts before it."""
        if frame.rule.inside is Content.PARTS and self.taken > frame.taken:
            self._put(" ")

    def _border(self, frame: _Frame, outer: _Frame, mark: str) -> None:
        """Separate an element's text from the text around it: by a mark, or by a new passage."""
        spaced = frame.rule.around is Around.SPACED
        if outer.in_line or (spaced and outer.sentence):
            self._put(mark)
        else:
            self.open = None

    def _put(self, piece: str) -> None:
        if self.open is not None:
            self.open.pieces.append(piece)

    def _begin(self, type_: str) -> None:
        self.open = _Passage(type_)
        self.passages.append(self.open)


def _rule(name: str, element: Element, frame: _Frame) -> Rule:
    if name == "label":
        return _LABEL if frame.rule.captioned else _SKIPPED
    if name == "caption" and frame.rule.captioned:
        return _CAPTION
    if name in ("xref", "sup") and _is_raised_mark(name, element):
        return _SKIPPED
    return ELEMENTS.get(name, _UNKNOWN)


def _is_raised_mark(name: str, element: Element) -> bool:
    """Tell whether an element holds only marks of citations or notes in superscript."""
    if name == "xref":
        marks = _is_note(element) and all(local_name(child) == "sup" for child in element)
    else:
        parent = element.getparent()
        if parent is not None and _is_note(parent):
            return True
        marks = all(map(_is_note, element))
    if not marks or not len(element):
        return False
    between = "".join([element.text or "", *(child.tail or "" for child in element)])
    return not any(c.isalnum() for c in between)


def _is_note(element: Element) -> bool:
    return element.get("ref-type") in _NOTES


# ----------------------------------------------------------------------------------------- layout


_HOLES = re.compile(f"{_HOLE}+")


def _finished(text: str) -> str:
    """Replace the marks in the text of a passage, and tidy its white space."""
    text = _HOLES.sub(_filled, text)
    rows = (row for row in map(_row, text.split(_ROW)) if row.strip())
    return "\n".join(rows)


def _filled(hole: re.Match[str]) -> str:
    """Fill a hole with a blank if the texts around it would otherwise look like one word."""
    before = hole.string[hole.start() - 1] if hole.start() else " "
    behind = hole.string[hole.end() : hole.end() + 1] or " "
    if language.has_han(before) or language.has_han(behind):
        return ""  # Chinese is written without blanks
    if unicodedata.category(before) in ("Ps", "Pi", "Pd", "Cc", "Zs") or before == "/":
        return ""
    kind = unicodedata.category(behind)
    begins = kind[0] in "LN" or kind in ("Ps", "Pi", "Sc")
    # A mathematical sign continues a word (CD4+), but begins a new one behind a comma.
    return " " if begins or (kind == "Sm" and not before.isalnum()) else ""


def _row(text: str) -> str:
    first, *cells = map(_cell, text.split(_CELL))
    return "\t".join([first, *cells] if first or not cells else cells)


def _cell(text: str) -> str:
    return ": ".join(filter(None, map(tidy, text.split(_MEANING))))
