"""Taiyi's answer form, shared by the tasks: one line a type, `label: item; item`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from taiyi_ray.grounding import LONGEST

COLON = {"en": ": ", "zh": "："}
NONE = {"en": "none", "zh": "无"}

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


def read(text: str, labels: Sequence[str], heads: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the items of each label as one string, in the order of `labels`, and what was wrong.

    A line is known by its head, or (free models) by its label and any colon in any case; with one
    label a bare list is taken too. Unknown lines are `invalid`; what else the answer says counts.
    """
    items: list[list[str]] = [[] for _ in labels]
    problem = None if text.strip() else "invalid"
    loose = {label.casefold(): n for n, label in enumerate(labels)}
    for line in text.split("\n"):
        line = line.strip()
        if not line or line.casefold() in (NONE["en"], NONE["zh"]):
            continue
        known = next((n for n, head in enumerate(heads) if line.startswith(head.strip())), None)
        if known is not None:
            items[known].append(line[len(heads[known].strip()) :].strip())
            continue
        label, *rest = re.split("[:：]", line, maxsplit=1)
        known = loose.get(label.strip(" -*").casefold()) if rest else None
        if known is not None:
            items[known].append(rest[0].strip())
        elif len(labels) == 1 and not rest:
            items[0].append(line)
        else:
            problem = "invalid"
    return ["; ".join(parts) for parts in items], problem


def mentions(items: str) -> list[str]:
    """Split `m1; m2` into surfaces, each once, in order."""
    return list(dict.fromkeys(m for m in (part.strip() for part in items.split(";")) if m))


def pairs(items: str) -> list[tuple[str, str]]:
    """Split `[head, tail]; [head, tail]` into pairs, each once, in order."""
    found = ((head.strip(), tail.strip()) for head, tail in _PAIR.findall(items))
    return list(dict.fromkeys((head, tail) for head, tail in found if head and tail))
