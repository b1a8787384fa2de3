"""The items of a list in an answer, as the answer form has them and as chats write them.

The form separates items by `;` and puts pairs in brackets. Other separators may as well be signs of
an item (`2,4-D`, `甲、乙型肝炎`): what stands in the text, or names a label, decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from taiyi_ray import nothing
from taiyi_ray.grounding import LONGEST
from taiyi_ray.tasks.scores import Piece

Stands = Callable[[str], bool]
"""Whether a piece of an answer is one whole item: it stands in the text, or names a label."""


def as_written(_: str) -> bool:
    """Under a grammar every item stands as it is written: nothing about it is to be made out."""
    return True


_BULLET = re.compile(
    r"[-*+–—](?:\s+|(?=[\u3400-\u9fff]))|[•●▪◦‣·]\s*|[①-⑳]\s*"
    r"|(?:[(（]\d{1,3}[)）]|\d{1,3}[.．)）])(?:\s+|(?=[*\u3400-\u9fff]))|\d{1,3}、\s*"
)
"""Begins an item of a list: a sign and a blank, or what needs none."""

_QUOTES = (
    *(("**", "**"), ("__", "__"), ("*", "*"), ("_", "_"), ("`", "`"), ('"', '"'), ("“", "”")),
    *(("'", "'"), ("‘", "’"), ("「", "」"), ("『", "』"), ("[", "]"), ("【", "】")),
)
"""What chats put around an item or a whole list."""
_NESTED = 4
"""So many of them around each other."""

_CLOSING = " \t.,:;。，、：；!！"
"""What closes a list or a sentence. No item ends so, as none does under a grammar."""

_CERTAIN = re.compile(r"\s*[；、]\s*")
_LIKELY = re.compile(
    r"\s*[；、，]\s*(?:and\s+|or\s+)?|\s*,\s+(?:and\s+|or\s+)?|,(?=[*_`\"“'‘「『\u3400-\u9fff])"
    r"|(?<=[\u3400-\u9fff]),"
)
_COMMA = re.compile("[,，]")
_BETWEEN = (", ", "，", ",")


def unlisted(line: Piece) -> Piece:
    """A line without the bullet or the number that makes it an item of a list."""
    bullet = _BULLET.match(line.text)
    return line.after(bullet.end()) if bullet and bullet.end() < len(line.text) else line


def said(pieces: Sequence[Piece], labels: Sequence[str], stands: Stands) -> list[Piece]:
    """The pieces of a list, none when all that they say is that there is nothing.

    A sentence that stands in the text is no sentence about it.
    """
    return [] if all(_is_nothing(piece.text, labels, stands) for piece in pieces) else list(pieces)


def _is_nothing(text: str, labels: Sequence[str], stands: Stands) -> bool:
    return not text or nothing.is_word(text) or (not stands(text) and nothing.is_said(text, labels))


def mentions(
    lists: Sequence[Piece], labels: Sequence[str], stands: Stands, end: int | None = None
) -> list[Piece]:
    """Split `m1; m2` into mentions, each surface once, in order.

    Args:
        labels: what was asked for.
        end: where an answer was cut: the item that reaches it may be unfinished and is dropped.
    """
    found: dict[str, Piece] = {}
    for piece in said(lists, labels, stands):
        whole = bare(piece, stands)  # a list may stand in brackets
        parts = [item for part in whole.split(";") for item in listed(part.strip(), stands)]
        if piece.end == end:
            parts = parts[:-1]
        for part in parts:
            found.setdefault(part.text, part)
    return said(list(found.values()), labels, stands)


def end_of(text: str) -> int | None:
    """Where the unfinished item of a cut answer ends; None when a separator ended the last one."""
    bare = text.rstrip()
    return None if not bare or bare[-1] in ";；" or "\n" in text[len(bare) :] else len(bare)


def listed(part: Piece, stands: Stands) -> Iterator[Piece]:
    """The items of a part of a list: itself, or what stands between other separators in it.

    `、` or a comma may be a sign of the item. So a part that stands as it is written is one item;
    of another, the longest runs that stand are. `；` and `、` separate in any case, a comma only
    where something beside it stands.
    """
    if not part.text:
        return
    part = bare(part, stands)
    if stands(part.text):
        yield part
        return
    runs = [bare(run, stands) for run in _runs(_unclosed(part), stands)]
    if _CERTAIN.search(part.text) or any(stands(run.text) for run in runs):
        yield from (run for run in runs if run.text)
    else:
        yield part


def _runs(part: Piece, stands: Stands) -> Iterator[Piece]:
    """Cut a part at its separators, but not in quotes, nor where what lies around one stands."""
    ends = [*(match.span() for match in _LIKELY.finditer(part.text)), (len(part.text),) * 2]
    begin, at = 0, 0
    while at < len(ends):
        at = _quoted(part.text, begin, ends, at)
        while at + 1 < len(ends):
            longer = Piece(part.text[begin : ends[at + 1][0]], 0)
            if not stands(bare(longer, stands).text):
                break
            at += 1
        yield Piece(part.text[begin : ends[at][0]], part.start + begin)
        begin, at = ends[at][1], at + 1


def _quoted(text: str, begin: int, ends: Sequence[tuple[int, int]], at: int) -> int:
    """Which of the ends closes the quote that begins there; `at` where none does."""
    for opening, closing in _QUOTES:
        if text.startswith(opening, begin):
            inner = begin + len(opening)
            for number in range(at, len(ends)):
                end = ends[number][0]
                if end > inner + LONGEST:
                    break
                if text.endswith(closing, inner, end):
                    return number
            break
    return at


def bare(part: Piece, stands: Stands) -> Piece:
    """A part without bullet, quotes and bold, unless it stands with them.

    And without the signs that close a list or a sentence, where it stands without them.
    """
    part = part.strip()
    if stands is as_written:
        return part
    if not stands(part.text):
        part = unlisted(part)
    for _ in range(_NESTED):
        inner = _unquoted(part) or _unquoted(_unclosed(part))
        if inner is None or stands(part.text):
            break
        part = inner
    return _unclosed(part) if stands(_unclosed(part).text) else part


def _unclosed(part: Piece) -> Piece:
    return Piece(part.text.rstrip(_CLOSING), part.start)


def _unquoted(part: Piece) -> Piece | None:
    """What stands between two quotes that belong together: not those of `"a", "b"`."""
    for opening, closing in _QUOTES:
        inner = part.text[len(opening) : -len(closing)]
        if inner and part.text.startswith(opening) and part.text.endswith(closing):
            return (
                None
                if re.search(rf"{re.escape(closing)}\s*[,;，；、]", inner)
                else Piece(inner, part.start + len(opening)).strip()
            )
    return None


def pairs(lists: Sequence[Piece], stands: Stands) -> list[tuple[Piece, Piece]]:
    """Split `[head, tail]; [head, tail]` into pairs, each once, in order."""
    found: dict[tuple[str, str], tuple[Piece, Piece]] = {}
    for piece in lists:
        for inside in _bracketed(piece):
            head, tail = _halves(inside, stands)
            if head.text and tail.text:
                found.setdefault((head.text, tail.text), (head, tail))
    return list(found.values())


def _bracketed(piece: Piece) -> Iterator[Piece]:
    """What stands in brackets, up to the first that closes behind a comma: `[[3H]x, y]` is one.

    In round ones only where they hold a whole item.
    """
    text, at, found = piece.text, 0, False
    while (opening := text.find("[", at)) >= 0:
        comma = _COMMA.search(text, opening)
        closing = text.find("]", comma.end()) if comma else -1
        if closing < 0:
            break
        found, at = True, closing + 1
        yield Piece(text[opening + 1 : closing], piece.start + opening + 1)
    if found:
        return
    for part in (part.strip() for part in piece.split(";")):
        if _COMMA.search(part.text) and part.text[0] in "(（【" and part.text[-1] in ")）】":
            yield Piece(part.text[1:-1], part.start + 1)


def _halves(inside: Piece, stands: Stands) -> tuple[Piece, Piece]:
    """Both parts of a pair: cut where that leaves two parts of the text, else at the first comma.

    A comma without a blank behind it may be one of a name (`2,4-D`): it separates only if so.
    """
    cuts = [m.span() for between in _BETWEEN for m in re.finditer(between, inside.text)]
    halves = [
        (
            bare(Piece(inside.text[:start], inside.start), stands),
            bare(Piece(inside.text[end:], inside.start + end), stands),
        )
        for start, end in cuts
    ]
    certain = halves[:1] if cuts and inside.text[slice(*cuts[0])] != "," else []
    both = [pair for pair in halves if all(stands(part.text) for part in pair)]
    nowhere = Piece("", inside.start)
    return next(iter([*both, *certain]), (nowhere, nowhere))
