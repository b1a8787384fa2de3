"""Split a list in an answer into its items, in the answer form or as chats write lists.

The form separates items by `;` and puts pairs in brackets. Free answers use other separators, too,
which may also be part of an item (`2,4-D`, `甲、乙型肝炎`). What occurs in the document's text, or
names a label, decides whether such a sign separates items.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from taiyi_ray import nothing
from taiyi_ray.forms import HAN
from taiyi_ray.grounding import LONGEST
from taiyi_ray.tasks.scores import Piece

Stands = Callable[[str], bool]
"""Says whether a piece of an answer is one whole item: it occurs in the text, or names a label."""


def as_written(_: str) -> bool:
    """Accept every item as it is written, for answers under a grammar, which are exact."""
    return True


_BULLET = re.compile(
    rf"[-*+–—](?:\s+|(?=[{HAN}]))|[•●▪◦‣·]\s*|[①-⑳]\s*"
    rf"|(?:[(（]\d{{1,3}}[)）]|\d{{1,3}}[.．)）])(?:\s+|(?=[*{HAN}]))|\d{{1,3}}、\s*"
)
"""What begins an item of a list: a bullet or a number, with a blank where the sign needs one."""

_QUOTES = (
    *(("**", "**"), ("__", "__"), ("*", "*"), ("_", "_"), ("`", "`"), ('"', '"'), ("“", "”")),
    *(("'", "'"), ("‘", "’"), ("「", "」"), ("『", "』"), ("[", "]"), ("【", "】")),
)
"""Pairs of signs that chats put around an item or a whole list."""
_NESTED = 4
"""At most this many nested pairs of such signs are removed."""

_CLOSING = " \t.,:;。，、：；!！"
"""Signs that close a list or a sentence. An item does not end with one, unless the text has it."""

_CERTAIN = re.compile(r"\s*[；、]\s*")
_LIKELY = re.compile(
    rf"\s*[；、，]\s*(?:and\s+|or\s+)?|\s*,\s+(?:and\s+|or\s+)?|,(?=[*_`\"“'‘「『{HAN}])"
    rf"|(?<=[{HAN}]),"
)
_COMMA = re.compile("[,，]")
_BETWEEN = (", ", "，", ",")


def unlisted(line: Piece) -> Piece:
    """A line without the bullet or number that marks it as an item of a list."""
    bullet = _BULLET.match(line.text)
    return line.after(bullet.end()) if bullet and bullet.end() < len(line.text) else line


def said(pieces: Sequence[Piece], labels: Sequence[str], stands: Stands) -> list[Piece]:
    """The pieces of a list, or no piece when all of them only say that there is nothing.

    A piece that occurs in the text is an item, even if it reads like such a sentence.

    Args:
        pieces: the pieces of the list.
        labels: what was asked for.
        stands: says whether a piece is one whole item.
    """
    return [] if all(_is_nothing(piece.text, labels, stands) for piece in pieces) else list(pieces)


def _is_nothing(text: str, labels: Sequence[str], stands: Stands) -> bool:
    return not text or nothing.is_word(text) or (not stands(text) and nothing.is_said(text, labels))


def mentions(
    lists: Sequence[Piece], labels: Sequence[str], stands: Stands, end: int | None = None
) -> list[Piece]:
    """Split `m1; m2` into mentions, each surface once, in order.

    Args:
        lists: the lists of one label.
        labels: what was asked for.
        stands: says whether a piece is one whole item.
        end: the position in the answer where it was cut. The item that ends there may be
            unfinished and is dropped.
    """
    by_surface: dict[str, Piece] = {}
    for piece in said(lists, labels, stands):
        whole = bare(piece, stands)  # a list may stand in brackets
        parts = [item for part in whole.split(";") for item in listed(part.strip(), stands)]
        if piece.end == end:
            parts = parts[:-1]
        for part in parts:
            by_surface.setdefault(part.text, part)
    return said(list(by_surface.values()), labels, stands)


def end_of(text: str) -> int | None:
    """The position where a cut answer ends inside an item; None when a separator ends its last."""
    bare = text.rstrip()
    return None if not bare or bare[-1] in ";；" or "\n" in text[len(bare) :] else len(bare)


def listed(part: Piece, stands: Stands) -> Iterator[Piece]:
    """Yield the items of a part of a list that holds no `;`.

    `、` or a comma may belong to an item. So a part for which `stands` is true is one item. Another
    part is cut into the longest runs for which `stands` is true. `；` and `、` always separate, a
    comma only when `stands` is true for some run.
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
    """Cut a part at its separators, but not inside quotes.

    It is not cut at a separator either when `stands` is true for the text on both sides together.
    """
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
    """The number of the end that closes a quote; `at` when no quote begins or closes.

    Args:
        text: the part that is cut.
        begin: where the run begins in it, perhaps with a quote.
        ends: the spans of the separators, and the end of the text.
        at: the number of the first end after `begin`.
    """
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
    """Remove bullet, quotes and bold from a part, until `stands` is true for it.

    Signs that close a list or a sentence are removed when `stands` is true without them.
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
    """The text inside a pair of quotes; None without one, and for two quoted items (`"a", "b"`)."""
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
    by_surfaces: dict[tuple[str, str], tuple[Piece, Piece]] = {}
    for piece in lists:
        for inside in _bracketed(piece):
            head, tail = _halves(inside, stands)
            if head.text and tail.text:
                by_surfaces.setdefault((head.text, tail.text), (head, tail))
    return list(by_surfaces.values())


def _bracketed(piece: Piece) -> Iterator[Piece]:
    """Yield the texts inside square brackets; a bracket closes only after a comma: `[[3H]x, y]`.

    When a list has none, round and lenticular brackets count, if they hold a whole part of the
    list.
    """
    text, at, square = piece.text, 0, False
    while (opening := text.find("[", at)) >= 0:
        comma = _COMMA.search(text, opening)
        closing = text.find("]", comma.end()) if comma else -1
        if closing < 0:
            break
        square, at = True, closing + 1
        yield Piece(text[opening + 1 : closing], piece.start + opening + 1)
    if square:
        return
    for part in (part.strip() for part in piece.split(";")):
        if _COMMA.search(part.text) and part.text[0] in "(（【" and part.text[-1] in ")）】":
            yield Piece(part.text[1:-1], part.start + 1)


def _halves(inside: Piece, stands: Stands) -> tuple[Piece, Piece]:
    """Cut a pair into head and tail: at a comma that leaves two whole items, else at the first.

    An ASCII comma without a blank behind it may belong to a name (`2,4-D`). It separates only when
    both sides are whole items. Both parts are empty when the pair cannot be cut.
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
    uncut = Piece("", inside.start)
    return next(iter([*both, *certain]), (uncut, uncut))
