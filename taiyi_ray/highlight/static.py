"""Draw rows without a script, for notebooks, in the styles of the report.

The page around them belongs to the notebook. So the style sheet is nested below one class and
changes nothing else on the page, and the size of what is shown is limited.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Template
from markupsafe import Markup, escape

from taiyi_ray import highlight
from taiyi_ray.formats.concepts import identifier_of
from taiyi_ray.records import Concept

MOST = 20
"""The most documents that are shown."""

LONG = 4000
"""The most characters of a document that are shown."""

_FEW = 50
"""The most entries of a list of relations, events ... that are shown."""

_PAGE = re.compile(r"(?m)^(\s*)(?::root|body)(?= \{)")

Values = Mapping[str, Any]


@cache
def _style() -> Markup:
    """The style sheet of our pages, whose rules for the page are for our own element here."""
    own = _PAGE.sub(r"\1&", str(highlight.style(__package__, "static")))  # no Markup: "&" stays
    return Markup(f".taiyi-ray {{\n{own}\n}}")


@cache
def _template() -> Template:
    return highlight.template(__package__, "static", type=_type, spaced=_spaced)


def cards(rows: Sequence[Values]) -> str:
    """Draw rows as HTML that is shown inside another page.

    Args:
        rows: rows of `records.SCHEMA`, with `metadata` as a dictionary.
    """
    shown = rows[:MOST]
    types = Counter(_type(mention) for row in shown for mention in row["mentions"])
    colours = highlight.colours(types)
    return _template().render(
        style=_style(),
        types=types,
        cards=[_Card(row, colours) for row in shown],
        colour=lambda type_: _colour(colours, type_),
        left=len(rows) - len(shown),
        few=_FEW,
    )


def _type(mention: Values) -> str:
    return mention["type"] or highlight.UNTYPED


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _colour(colours: Mapping[str, int | None], type_: str) -> str:
    number = colours.get(type_)
    return "plain" if number is None else f"c{number}"


@dataclass(frozen=True)
class _Card:
    """One row, with what its template asks for.

    Attributes:
        row: the row.
        colours: the number of the colour of each type.
    """

    row: Values
    colours: Mapping[str, int | None]

    def passages(self) -> Iterator[tuple[Values, Markup]]:
        """Yield the passages that are shown, each with its marked text."""
        left = LONG
        for passage in self.row["passages"]:
            if left <= 0:
                return
            text = passage["text"][:left]
            left -= len(text)
            yield passage, self._marked(passage["offset"], text)

    @property
    def hidden(self) -> int:
        """The number of characters that are not shown."""
        return max(0, sum(len(passage["text"]) for passage in self.row["passages"]) - LONG)

    def unplaced(self) -> Iterator[Values]:
        """The mentions that were not located in the text."""
        return (m for m in self.row["mentions"] if m["start"] is None and not m["spans"])

    def surface(self, ids: Sequence[int]) -> str:
        """The style class for the colour of the first of these mentions that has a type."""
        named = (m["type"] for m in self.row["mentions"] if m["id"] in ids and m["type"])
        return _colour(self.colours, next(named, highlight.UNTYPED))

    def trigger(self, event: Values) -> str:
        """The words of an event's trigger."""
        return next((m["text"] for m in self.row["mentions"] if m["id"] == event["trigger"]), "")

    def _marked(self, offset: int, text: str) -> Markup:
        """Mark the mentions in a text; marks nest in each other.

        When a mention ends after the mention around it, it is cut there and marked again after it.

        Args:
            offset: the offset in the document where the text begins.
            text: the text.
        """
        parts = [
            (part, mention)
            for mention in self.row["mentions"]
            for part in mention["spans"] or [mention]
            if part["start"] is not None
        ]
        waiting = [
            (max(0, part["start"] - offset), -min(len(text), part["end"] - offset), number, mention)
            for number, (part, mention) in enumerate(parts)
        ]
        waiting = [one for one in waiting if one[0] < -one[1]]
        heapq.heapify(waiting)
        written: list[str] = []
        around: list[_Open] = []
        at = 0
        while waiting or around:
            if around and (not waiting or around[-1].end <= waiting[0][0]):
                mark = around.pop()
                written += [escape(text[at : mark.end]), "</mark>"]
                written[mark.number] = self._opening(mark)
                at = mark.end
                if around:
                    around[-1].under = max(around[-1].under, mark.under + 1)
                continue
            start, minus_end, number, mention = heapq.heappop(waiting)
            end = -minus_end
            if around and end > around[-1].end:
                heapq.heappush(waiting, (around[-1].end, minus_end, number, mention))
                end = around[-1].end
            written += [escape(text[at:start]), ""]
            around.append(_Open(mention, end, len(written) - 1))
            at = start
        return Markup("".join([*written, escape(text[at:])]))

    def _opening(self, mark: _Open) -> Markup:
        mention = mark.mention
        concept = mention["concept"]
        told = [
            _spaced(_type(mention)),
            "" if mention["score"] is None else f"score {mention['score']:.2f}",
            f"{identifier_of(Concept(**concept))} {concept['name'] or ''}".strip()
            if concept
            else "",
            "" if mention["grounded"] == "exact" else f"found {mention['grounded']}",
            f"{mention['start']}–{mention['end']}",
        ]
        folded = "" if mention["grounded"] == "exact" else " folded"
        return Markup('<mark class="{}" style="--under: {}" title="{}">').format(
            _colour(self.colours, _type(mention)) + folded,
            mark.under,
            " · ".join(part for part in told if part),
        )


@dataclass(slots=True)
class _Open:
    """A mark that is not closed yet.

    Attributes:
        mention: the mention that it marks.
        end: the offset in the text where it ends.
        number: the index of its opening tag in the list of written parts.
        under: how deep other marks nest in it.
    """

    mention: Values
    end: int
    number: int
    under: int = 0
