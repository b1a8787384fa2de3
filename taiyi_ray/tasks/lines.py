"""Taiyi's answer form, shared by the tasks: one line a type, `label: item; item`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from taiyi_ray.grounding import LONGEST
from taiyi_ray.tasks.scores import Piece

COLON = {"en": ": ", "zh": "："}
NONE = {"en": "none", "zh": "无"}

_COLON = re.compile("[:：]")
_PAIR = re.compile(r"\[(.*?), (.*?)\]")


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


def read(
    text: str, labels: Sequence[str], heads: Sequence[str]
) -> tuple[list[list[Piece]], str | None]:
    """Return the lists of each label, in the order of `labels`, and what was wrong.

    A line is known by its head, or (free models) by its label and any colon in any case; with one
    label a bare list is taken too. Unknown lines are `invalid`; what else the answer says counts.
    """
    items: list[list[Piece]] = [[] for _ in labels]
    problem = None if text.strip() else "invalid"
    loose = {label.casefold(): n for n, label in enumerate(labels)}
    for raw in Piece(text, 0).split("\n"):
        line = raw.strip()
        if not line.text or line.text.casefold() in (NONE["en"], NONE["zh"]):
            continue
        head = next((n for n, h in enumerate(heads) if line.text.startswith(h.strip())), None)
        if head is not None:
            items[head].append(line.after(len(heads[head].strip())))
            continue
        colon = _COLON.search(line.text)
        label = loose.get(line.text[: colon.start()].strip(" -*").casefold()) if colon else None
        if colon and label is not None:
            items[label].append(line.after(colon.end()))
        elif len(labels) == 1 and not colon:
            items[0].append(line)
        else:
            problem = "invalid"
    return items, problem


def mentions(lists: Sequence[Piece]) -> list[Piece]:
    """Split `m1; m2` into mentions, each surface once, in order."""
    found: dict[str, Piece] = {}
    for part in (part.strip() for piece in lists for part in piece.split(";")):
        if part.text:
            found.setdefault(part.text, part)
    return list(found.values())


def pairs(lists: Sequence[Piece]) -> list[tuple[Piece, Piece]]:
    """Split `[head, tail]; [head, tail]` into pairs, each once, in order."""
    found: dict[tuple[str, str], tuple[Piece, Piece]] = {}
    for piece in lists:
        for match in _PAIR.finditer(piece.text):
            head, tail = (Piece(match[n], piece.start + match.start(n)).strip() for n in (1, 2))
            if head.text and tail.text:
                found.setdefault((head.text, tail.text), (head, tail))
    return list(found.values())
