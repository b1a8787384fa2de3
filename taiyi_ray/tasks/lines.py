"""Taiyi's answer form, shared by the tasks: one line a type, `label: item; item`.

It is written so, and a grammar allows no other. Models that answer freely write lists as chats have
them as well, and what they mean is read: heads in bold, alone on their line or as a heading; items
behind bullets and numbers. What separates items is told in `items.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from taiyi_ray import nothing
from taiyi_ray.grounding import LONGEST
from taiyi_ray.tasks.items import unlisted
from taiyi_ray.tasks.scores import Piece

COLON = {"en": ": ", "zh": "："}
NONE = {"en": "none", "zh": "无"}

_COLON = re.compile("[:：]")
_FENCE = re.compile(r"`{3,}[\w-]*$")
_MARKS = ("*", "_", "#", "`")
_LEADS_IN = re.compile(r"(?:\b(?:are|is|include|includes)|为|是|有|包括|如下)\s*$", re.IGNORECASE)


def writable(surface: str) -> bool:
    """Whether a mention survives the form, which bounds its length and escapes no separator."""
    short = len(surface) <= LONGEST
    return short and surface == surface.strip() and not any(c in surface for c in ";\n")


def write(heads: Sequence[str], items: Sequence[str], end: str, language: str) -> str:
    """Join the lines that have items; the answer for nothing at all otherwise."""
    written = [head + item for head, item in zip(heads, items, strict=True) if item]
    return "\n".join(written) + end if written else NONE[language]


def whole(text: str, *separators: str) -> str:
    """Drop what follows the last separator: the item that a cut answer may have left unfinished."""
    return text[: max(text.rfind(s) for s in separators) + 1].rstrip(";\n")


class Heads:
    """Knows the lines that begin with a head.

    Args:
        labels: what may be named, one for each list.
        heads: what the line of each begins with in the form.
    """

    def __init__(self, labels: Sequence[str], heads: Sequence[str]) -> None:
        self._heads = [head.strip() for head in heads]
        names = [(name, number) for of in (labels, heads) for number, name in enumerate(of)]
        exact = {name.casefold(): number for name, number in reversed(names)}
        self._known = {_plain(name): number for name, number in reversed(names)} | exact

    def of(self, line: Piece) -> tuple[int, Piece] | None:
        """Which label a line begins with, and what follows; None for a line without a head.

        It begins with the head, or (free models) with the label or head and any colon, in any
        case, behind a bullet, in bold or as a heading; as a heading it needs no colon.
        """
        for number, head in enumerate(self._heads):
            if line.text.startswith(head):
                return number, line.after(len(head))
        bulleted = unlisted(line)
        if colon := _COLON.search(bulleted.text):
            before = bulleted.text[: colon.start()]
            named = self._named(before)
            rest = bulleted.after(colon.end())
            return None if named is None else (named, _closed(before, rest))
        if line.text.startswith(_MARKS) and bulleted is line:
            named = self._named(line.text)
            return None if named is None else (named, line.after(len(line.text)))
        return None

    def _named(self, name: str) -> int | None:
        """The label of this name, also in the plural and as `disease entities`, `疾病实体`."""
        plain = _plain(name)
        bare = [plain, *(plain.removesuffix(more) for more in (" entities", " mentions", "实体"))]
        ways = [name.strip(" -*").casefold(), *bare, *(way.removesuffix("s") for way in bare)]
        return next((self._known[way] for way in ways if way and way in self._known), None)


def _plain(name: str) -> str:
    return name.strip(f" \t-:：【】[]{''.join(_MARKS)}").casefold()


def _closed(before: str, rest: Piece) -> Piece:
    """What follows a head, without the end of the bold that began before the colon."""
    opened = before.lstrip("# ")
    mark = next((mark for mark in ("**", "__", "*", "_") if opened.startswith(mark)), None)
    if mark is None or opened.count(mark) != 1:
        return rest
    if rest.text.startswith(mark):
        return rest.after(len(mark))
    return Piece(rest.text.removesuffix(mark), rest.start).strip()


def is_fence(line: Piece) -> bool:
    """Whether a line opens or closes a block of code."""
    return bool(_FENCE.match(line.text))


def read(
    text: str, labels: Sequence[str], heads: Sequence[str]
) -> tuple[list[list[Piece]], str | None]:
    """Return the lists of each label, in the order of `labels`, and what was wrong.

    Below a head that is alone on its line, and behind bullets, items stand without one; with one
    label a bare list is taken too. Unknown lines are `invalid`; what else the answer says counts.
    """
    items: list[list[Piece]] = [[] for _ in labels]
    problem = None if text.strip() else "invalid"
    known = Heads(labels, heads)
    single = len(labels) == 1
    current = 0 if single else None
    below_head = False
    for raw in Piece(text, 0).split("\n"):
        line = raw.strip()
        if not line.text:
            below_head = below_head and current is not None and not items[current][-1].text
            continue
        if head := known.of(line):
            current, rest = head
            items[current].append(rest)
            below_head = not rest.text
            continue
        if is_fence(line) or nothing.is_word(line.text):
            continue
        item = unlisted(line)
        listed = item is not line
        if single and not listed and (introduced := _introduced(line, labels[0])):
            items[0].append(introduced)
            below_head = not introduced.text
        elif current is not None and (listed or below_head):
            items[current].append(item)
        elif single and not _COLON.search(line.text):
            items[0].append(line)
        elif not says_nothing(line.text, labels):
            problem = "invalid"
    return items, problem


def says_nothing(text: str, labels: Sequence[str]) -> bool:
    """Whether a line names no item, also behind a head of the model's own: `Result: none.`

    Args:
        labels: what was asked for.
    """
    colon = _COLON.search(text)
    behind = text[colon.end() :] if colon else ""
    return nothing.is_said(text, labels) or nothing.is_said(behind, labels)


def _introduced(line: Piece, label: str) -> Piece | None:
    """What follows a lead-in of the model's own: `The diseases are: a; b`, or nothing behind it."""
    colon = _COLON.search(line.text)
    if not colon or label.casefold() not in line.text[: colon.start()].casefold():
        return None
    rest = line.after(colon.end())
    return rest if not rest.text or _LEADS_IN.search(line.text[: colon.start()]) else None
