"""Taiyi's answer form, shared by the tasks: one line for each type, `label: item; item`.

The tasks write this form, and a grammar allows no other. Models that answer freely also write lists
as chats do, and this module reads them as well: heads in bold, alone on a line or as a heading;
items behind bullets and numbers. `items.py` splits a list into items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from taiyi_ray import nothing
from taiyi_ray.tasks.items import unlisted
from taiyi_ray.tasks.scores import Piece

COLON = {"en": ": ", "zh": "："}
NONE = {"en": "none", "zh": "无"}

ANY_COLON = re.compile("[:：]")
_FENCE = re.compile(r"`{3,}[\w-]*$")
_MARKS = ("*", "_", "#", "`")
_LEADS_IN = re.compile(r"(?:\b(?:are|is|include|includes)|为|是|有|包括|如下)\s*$", re.IGNORECASE)


def write(heads: Sequence[str], items: Sequence[str], end: str, language: str) -> str:
    """Write an answer: a line for each head that has items.

    Args:
        heads: what each line begins with.
        items: the items of each head, as one string; empty for a head that is left out.
        end: what ends an answer with items.
        language: decides the word that stands for "nothing" when no head has items.
    """
    written = [head + item for head, item in zip(heads, items, strict=True) if item]
    return "\n".join(written) + end if written else NONE[language]


class Beginnings(NamedTuple):
    """How answers begin, as far as a prompt does not hold it.

    Attributes:
        head: the head of every answer; empty when it is not known before the question is asked.
        heads: what the line of each list begins with, behind what the prompt holds of the head.
        none: what an answer without any item is, behind the same.
    """

    head: str
    heads: Sequence[str]
    none: str


def beginnings(heads: Sequence[str], language: str, *, headed: bool) -> Beginnings:
    """How answers begin: where they have one list, its head may be known before.

    Args:
        heads: what the line of each list begins with.
        language: decides the word that stands for "nothing".
        headed: whether the head also stands before this word.
    """
    none = NONE[language]
    if not headed or len(heads) > 1:
        return Beginnings("", heads, none)
    blank = heads[0][len(heads[0].rstrip()) :]
    return Beginnings(heads[0], [blank], blank + none)


def whole(text: str, *separators: str) -> str:
    """Drop the text after the last separator: the last item of a cut answer may be unfinished."""
    return text[: max(text.rfind(s) for s in separators) + 1].rstrip(";\n")


class Heads:
    """Recognises the lines of an answer that begin with a head.

    Args:
        labels: the label of each list.
        heads: what the line of each list begins with in the form, in the order of `labels`.
    """

    def __init__(self, labels: Sequence[str], heads: Sequence[str]) -> None:
        self._heads = [head.strip() for head in heads]
        names = [(name, number) for of in (labels, heads) for number, name in enumerate(of)]
        exact = {name.casefold(): number for name, number in reversed(names)}
        self._known = {_plain(name): number for name, number in reversed(names)} | exact

    def of(self, line: Piece) -> tuple[int, Piece] | None:
        """The number of the label that heads a line, and the rest of the line; None without a head.

        In the form, the line begins with the head. Free answers may have the label or the head in
        upper or lower case with any colon, behind a bullet, in bold or as a heading. A label in
        bold or as a heading needs no colon when it is alone on its line.
        """
        for number, head in enumerate(self._heads):
            if line.text.startswith(head):
                return number, line.after(len(head))
        bulleted = unlisted(line)
        if colon := ANY_COLON.search(bulleted.text):
            before = bulleted.text[: colon.start()]
            named = self._named(before)
            rest = bulleted.after(colon.end())
            return None if named is None else (named, _closed(before, rest))
        if line.text.startswith(_MARKS) and bulleted is line:
            named = self._named(line.text)
            return None if named is None else (named, line.after(len(line.text)))
        return None

    def _named(self, name: str) -> int | None:
        """The number of the label with this name; the plural and `disease entities` count, too."""
        plain = _plain(name)
        bare = [plain, *(plain.removesuffix(more) for more in (" entities", " mentions", "实体"))]
        ways = [name.strip(" -*").casefold(), *bare, *(way.removesuffix("s") for way in bare)]
        return next((self._known[way] for way in ways if way and way in self._known), None)


def _plain(name: str) -> str:
    return name.strip(f" \t-:：【】[]{''.join(_MARKS)}").casefold()


def _closed(before: str, rest: Piece) -> Piece:
    """Remove from the text after a head the closing mark of bold that began before the colon.

    Args:
        before: the line up to the colon.
        rest: the line after it.
    """
    opened = before.lstrip("# ")
    mark = next((mark for mark in ("**", "__", "*", "_") if opened.startswith(mark)), None)
    if mark is None or opened.count(mark) != 1:
        return rest
    if rest.text.startswith(mark):
        return rest.after(len(mark))
    return Piece(rest.text.removesuffix(mark), rest.start).strip()


def is_fence(line: Piece) -> bool:
    """Whether a line opens or closes a block of code in Markdown."""
    return bool(_FENCE.match(line.text))


def read(
    text: str, labels: Sequence[str], heads: Sequence[str]
) -> tuple[list[list[Piece]], str | None]:
    """Return the lists of each label, in the order of `labels`, and the problem, if any.

    A line without a head belongs to the head above it when it has a bullet, or when that head is
    alone on its line. When there is one label, a list without any head is read too. An unknown line
    makes the problem `invalid`; the other lines are read nevertheless.

    Args:
        text: the answer.
        labels: the label of each list.
        heads: what the line of each list begins with in the form, in the order of `labels`.
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
        elif single and not ANY_COLON.search(line.text):
            items[0].append(line)
        elif not says_nothing(line.text, labels):
            problem = "invalid"
    return items, problem


def says_nothing(text: str, labels: Sequence[str]) -> bool:
    """Whether a line says that there is nothing, also behind words as in `Result: none`.

    Args:
        text: the line.
        labels: what was asked for.
    """
    colon = ANY_COLON.search(text)
    behind = text[colon.end() :] if colon else ""
    return nothing.is_said(text, labels) or nothing.is_said(behind, labels)


def _introduced(line: Piece, label: str) -> Piece | None:
    """The items after a lead-in in the model's own words, such as `The diseases are: a; b`.

    The result is empty when the lead-in ends the line, and None when the line has no lead-in.
    """
    colon = ANY_COLON.search(line.text)
    if not colon or label.casefold() not in line.text[: colon.start()].casefold():
        return None
    rest = line.after(colon.end())
    return rest if not rest.text or _LEADS_IN.search(line.text[: colon.start()]) else None
