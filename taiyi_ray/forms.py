"""Forms in which texts are compared: running text, and folded text, where like looks are equal.

Each form can translate its offsets back to those of the original text.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise

BORDER = "\n"
"""The sign between two stretches of running text that no mention crosses."""

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Unicode's blocks of Han ideographs with their extensions (https://www.unicode.org/charts/), as
ranges for a class of a regular expression."""
_HAN = re.compile(f"[{HAN}]")


class _Form:
    """A text in another form, with the way back to the offsets of the original.

    Attributes:
        text: the text in this form.
    """

    def __init__(self) -> None:
        self.text = ""
        self._starts: list[int] = []
        self._changes: list[tuple[int, int, int]] = []

    def _change(self, start: int, end: int, origin: int, behind: int) -> None:
        """Note that `start` to `end` of the form stands for `origin` to `behind` of the original.

        Either range may be empty. Between two changes both texts have the same number of
        characters. Changes must be noted in ascending order.
        """
        self._starts.append(start)
        self._changes.append((end, origin, behind))

    def _origin(self, at: int) -> tuple[int, int]:
        """The range of the original that the character at `at` of the form comes from."""
        number = bisect_right(self._starts, at) - 1
        if number < 0:
            return at, at + 1
        end, origin, behind = self._changes[number]
        if at < end:
            return origin, behind
        return behind + at - end, behind + at - end + 1

    def range(self, start: int, end: int) -> tuple[int, int]:
        """Translate a non-empty range of the form into one of the original."""
        return self._origin(start)[0], self._origin(end - 1)[1]


# ---------------------------------------------------------------------------------------- running

_SOFT_HYPHEN = "\u00ad"
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
# Matches all the white space around line ends at once, and only from its beginning, for speed.
_AROUND_LINE_ENDS = re.compile(r"(?<!\s)\s*[\n\r\x85\u2028\u2029]\s*")


class Running(_Form):
    """Running text: a text whose words follow each other regardless of where its lines end.

    A line end, with the white space around it, becomes a blank. It vanishes between two wide East
    Asian characters, where it stands for nothing (browsers do the same:
    https://www.w3.org/TR/css-text-3/#line-break-transform), and behind a soft hyphen, where the
    word goes on. A BORDER replaces an empty line, the end of a part, and a line end between two
    rows of a table (lines that hold a tab).

    Args:
        parts: stretches of the original in its order, each with its offset there.
    """

    def __init__(self, parts: Iterable[tuple[int, str]]) -> None:
        super().__init__()
        written: list[str] = []
        size = behind = 0
        for offset, text in parts:
            if written:
                written.append(BORDER)
                self._change(size, size + len(BORDER), behind, offset)
                size += len(BORDER)
            elif offset:
                self._change(0, 0, 0, offset)
            gaps = [m.span() for m in _AROUND_LINE_ENDS.finditer(text)] if _ends(text) else []
            at = 0
            for (start, end), (stop, _) in pairwise([*gaps, (len(text), len(text))]):
                line, gap, next_line = text[at:start], text[start:end], text[end:stop]
                joint = _joint(line, gap, next_line)
                written += (line, joint)
                size += start - at
                if len(joint) != end - start:
                    self._change(size, size + len(joint), offset + start, offset + end)
                size += len(joint)
                at = end
            written.append(text[at:])
            size += len(text) - at
            behind = offset + len(text)
        self.text = "".join(written)


def _ends(text: str) -> bool:
    """Whether a text holds a line end."""
    return _LINE_END.search(text) is not None


def _joint(line: str, gap: str, next_line: str) -> str:
    """Return what replaces the white space between two lines in running text."""
    if len(_LINE_END.findall(gap)) > 1 or "\u2029" in gap:  # the separator of paragraphs
        return BORDER
    if "\t" in line and "\t" in next_line:
        return BORDER
    if line.endswith(_SOFT_HYPHEN):
        return ""
    return "" if line and next_line and _is_wide(line[-1]) and _is_wide(next_line[0]) else " "


def is_han(character: str) -> bool:
    """Whether a character is a Han ideograph."""
    return _HAN.match(character) is not None


def _is_wide(character: str) -> bool:
    """Whether a character belongs to a script without blanks between words, or to its signs."""
    wide = unicodedata.east_asian_width(character) in ("W", "F", "H")
    return wide and not unicodedata.name(character, "").startswith(("HANGUL", "HALFWIDTH HANGUL"))


def running(text: str) -> str:
    """Return a surface from an answer as running text: a line end in it is white space."""
    return Running([(0, text)]).text if _ends(text) else text


# ----------------------------------------------------------------------------------------- folded

# Characters that look alike. People type an apostrophe for a prime and for an accent that stands
# alone.
_HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d"
_APOSTROPHES = "'`\u00b4\u02b9\u02bb\u02bc\u2018\u2019\u201a\u201b\u2032\u2035\uff07"
_QUOTES = '"\u201c\u201d\u201e\u201f\u2033\u2036\u301d\u301e\u301f\uff02'
_BLANKS = (
    "\t\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# Unicode's Default_Ignorable_Code_Point without the letters in it: soft hyphens, joiners, marks of
# direction and of byte order, variation selectors.
_UNSEEN = "".join(
    chr(code)
    for first, last in (
        *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x180B, 0x180F), (0x200B, 0x200F)),
        *((0x202A, 0x202E), (0x2060, 0x206F), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
        *((0xE0001, 0xE0001), (0xE0020, 0xE007F), (0xE0100, 0xE01EF)),
    )
    for code in range(first, last + 1)
)


def is_mark(character: str) -> bool:
    """Whether a character belongs to the letter before it: accents, vowel signs, selectors."""
    return unicodedata.category(character)[0] == "M"


def _joins(character: str) -> bool:
    """Whether a character may be composed with those before it: marks, and parts of syllables."""
    return is_mark(character) or "\u1160" <= character <= "\u11ff" or character in "\uff9e\uff9f"


class _Folds(dict[int, str]):
    """The folded form of each character, computed when the character is first met.

    Attributes:
        joining: the characters met so far that may be composed with those before them.
        odd: the joining characters, and those whose folded form is not one character.
    """

    def __init__(self, blank: str, hyphen: str) -> None:
        super().__init__()
        self.joining: set[str] = set()
        self.odd: set[str] = set()
        self._alike = {
            **dict.fromkeys(map(ord, _UNSEEN), ""),
            **dict.fromkeys(map(ord, _BLANKS), blank),
            **dict.fromkeys(map(ord, _HYPHENS), hyphen),
            **dict.fromkeys(map(ord, _APOSTROPHES), "'"),
            **dict.fromkeys(map(ord, _QUOTES), '"'),
        }

    def __missing__(self, code: int) -> str:
        character = chr(code)
        folded = self._together(character)
        if _joins(character):
            self.joining.add(character)
        if len(folded) != 1 or _joins(character):
            self.odd.add(character)
        self[code] = folded  # last: a thread that sees this entry must see the sets' entries, too
        return folded

    def _together(self, characters: str) -> str:
        """Fold characters that together are one character to a reader."""
        seen = unicodedata.normalize("NFKC", characters.translate(self._alike))
        # Folding the case may decompose a character: compose again.
        return unicodedata.normalize("NFKC", seen.casefold()).translate(self._alike)

    def of(self, unit: str) -> str:
        """Fold a match of `units`."""
        folded = self._together(unit)
        return folded if folded.strip(" ") else folded[:1]

    def units(self, text: str, folded: str) -> re.Pattern[str] | None:
        """Make a pattern of the pieces of a text that cannot be folded one character by one.

        Args:
            text: the text.
            folded: the text folded character by character.

        Returns:
            The pattern, or None when the text has no such piece.
        """
        doubled = "  " in folded
        odd = sorted(self.odd.intersection(text))
        if not odd and not doubled:
            return None
        joining = "".join(c for c in odd if c in self.joining)
        vanishing = "".join(c for c in odd if c not in self.joining and not self[ord(c)])
        unseen = "".join(c for c in vanishing if c in _UNSEEN)
        others = "".join(c for c in odd if c not in vanishing)
        blanks = "".join(sorted(c for c in set(text) if self[ord(c)] == " ")) if doubled else ""
        between = f"[{re.escape(unseen)}]*+" if unseen else ""
        units = []
        if blanks:
            units.append(f"[{re.escape(blanks)}](?:{between}[{re.escape(blanks)}])+")
        if joining:
            base = f"[^{re.escape(unseen)}]" if unseen else "(?s:.)"
            units.append(f"{base}(?:{between}[{re.escape(joining)}]+)+")
        units += [f"[{re.escape(vanishing)}]+"] if vanishing else []
        units += [f"[{re.escape(others)}]"] if others else []
        return re.compile("|".join(units))


_CHINESE, _OTHERS = _Folds("", "-"), _Folds(" ", " ")


class Folded(_Form):
    """A text in which characters that look alike to a reader are the same.

    Width, case, white space, hyphens, quotes and composed letters are folded; invisible characters
    vanish. A letter and its marks are one unit, whose parts have no offsets of their own. BORDERs
    stay.
    """

    def __init__(self, text: str, language: str) -> None:
        super().__init__()
        self._original = text
        self._folds = _CHINESE if language == "zh" else _OTHERS
        self._traced = False
        # This is right for nearly all texts, and far faster than folding unit by unit.
        self.text = text.translate(self._folds)
        if "  " in self.text or not (text.isascii() or self._folds.joining.isdisjoint(text)):
            self.text = self._trace()

    def _trace(self) -> str:
        """Fold the text unit by unit, and note the changes."""
        text, folds = self._original, self._folds
        written: list[str] = []
        size = at = 0
        units = folds.units(text, self.text)
        for unit in units.finditer(text) if units else ():
            written += (text[at : unit.start()].translate(folds), folds.of(unit[0]))
            size += unit.start() - at
            at = unit.end()
            self._change(size, size + len(written[-1]), unit.start(), at)
            size += len(written[-1])
        written.append(text[at:].translate(folds))
        self._traced = True
        return "".join(written)

    def range(self, start: int, end: int) -> tuple[int, int]:
        """Translate a non-empty range of the form into one of the original."""
        if not self._traced:
            self._trace()
        return super().range(start, end)
