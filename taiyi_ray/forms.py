"""Forms in which texts are compared: running text, and text with what looks the same folded.

Each knows the way back to the offsets of the text as it stands.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise

BORDER = "\n"
"""What keeps stretches of running text apart: no mention crosses it."""


class _Form:
    """A text in another form, and the way back to the offsets of the original.

    Attributes:
        text: the text in its form.
    """

    def __init__(self) -> None:
        self.text = ""
        self._starts: list[int] = []
        self._changes: list[tuple[int, int, int]] = []

    def _change(self, start: int, end: int, origin: int, behind: int) -> None:
        """Note that `start` to `end` of the form, maybe nothing, stands for that of the original.

        Between two changes both texts have as many characters.
        """
        self._starts.append(start)
        self._changes.append((end, origin, behind))

    def _origin(self, at: int) -> tuple[int, int]:
        """The range of the original that a character of the form comes from."""
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
# All the white space around line ends at once; looked for from its beginning only, for speed.
_AROUND_LINE_ENDS = re.compile(r"(?<!\s)\s*[\n\r\x85\u2028\u2029]\s*")


class Running(_Form):
    """Running text: as its words follow each other, wherever its lines end.

    A line end, with the white space around it, becomes a blank. Between two characters of East
    Asian width it vanishes, for there it stands for nothing (browsers do so, too:
    https://www.w3.org/TR/css-text-3/#line-break-transform), and behind a soft hyphen, which says
    that the word goes on. An empty line and the end of a part become a BORDER, and so does a line
    end between rows of a table: lines with a tab in them.

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
    """Whether a text has ends of lines in it."""
    return _LINE_END.search(text) is not None


def _joint(line: str, gap: str, next_line: str) -> str:
    """What stands in running text for the white space between two lines."""
    if len(_LINE_END.findall(gap)) > 1 or "\u2029" in gap:  # the separator of paragraphs
        return BORDER
    if "\t" in line and "\t" in next_line:
        return BORDER
    if line.endswith(_SOFT_HYPHEN):
        return ""
    return "" if line and next_line and _is_wide(line[-1]) and _is_wide(next_line[0]) else " "


def _is_wide(character: str) -> bool:
    """Whether a character is of a script without blanks between its words, or of its signs."""
    wide = unicodedata.east_asian_width(character) in ("W", "F", "H")
    return wide and not unicodedata.name(character, "").startswith(("HANGUL", "HALFWIDTH HANGUL"))


def running(text: str) -> str:
    """A mention as an answer names it, in which a line end is white space."""
    return Running([(0, text)]).text if _ends(text) else text


# ----------------------------------------------------------------------------------------- folded

# What looks alike. A prime is an apostrophe to who types; so are accents that stand alone.
_HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d"
_APOSTROPHES = "'`\u00b4\u02b9\u02bb\u02bc\u2018\u2019\u201a\u201b\u2032\u2035\uff07"
_QUOTES = '"\u201c\u201d\u201e\u201f\u2033\u2036\u301d\u301e\u301f\uff02'
_BLANKS = (
    "\t\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# Unicode's Default_Ignorable_Code_Point, but for letters: soft hyphens, joiners, marks of direction
# and order of bytes, selectors of a variant.
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
    """Whether a character is one with the letter before it: accents, vowel signs, selectors."""
    return unicodedata.category(character)[0] == "M"


def _joins(character: str) -> bool:
    """Whether a character may become one with those before it: marks, and parts of syllables."""
    return is_mark(character) or "\u1160" <= character <= "\u11ff" or character in "\uff9e\uff9f"


class _Folds(dict[int, str]):
    """What each character becomes when it is folded, worked out when it is first met.

    Attributes:
        joining: those met so far that may become one with what stands before them.
        odd: those, and others that do not become one character.
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
        self[code] = folded  # last: another thread that finds it finds it in the sets, too
        return folded

    def _together(self, characters: str) -> str:
        """Fold what only together is one character to a reader."""
        seen = unicodedata.normalize("NFKC", characters.translate(self._alike))
        # Some of what is without case is no longer composed.
        return unicodedata.normalize("NFKC", seen.casefold()).translate(self._alike)

    def of(self, unit: str) -> str:
        """Fold a match of `units`."""
        folded = self._together(unit)
        return folded if folded.strip(" ") else folded[:1]

    def units(self, text: str, folded: str) -> re.Pattern[str] | None:
        """Match what in a text does not become one character for one; None where nothing does.

        Args:
            text: the text.
            folded: what it becomes character by character.
        """
        several = "  " in folded
        odd = sorted(self.odd.intersection(text))
        if not odd and not several:
            return None
        joining = "".join(c for c in odd if c in self.joining)
        vanishing = "".join(c for c in odd if c not in self.joining and not self[ord(c)])
        unseen = "".join(c for c in vanishing if c in _UNSEEN)
        others = "".join(c for c in odd if c not in vanishing)
        blanks = "".join(sorted(c for c in set(text) if self[ord(c)] == " ")) if several else ""
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
    """A text with what readers take for the same folded, and the way back to its offsets.

    Width, case, white space, hyphens, quotes and composed letters are folded; what is not seen
    vanishes. A letter and its marks are one, of which no part is found alone. BORDERs stay.
    """

    def __init__(self, text: str, language: str) -> None:
        super().__init__()
        self._original = text
        self._folds = _CHINESE if language == "zh" else _OTHERS
        self._traced = False
        # Right for nearly all texts, and far faster than unit by unit.
        self.text = text.translate(self._folds)
        if "  " in self.text or not (text.isascii() or self._folds.joining.isdisjoint(text)):
            self.text = self._trace()

    def _trace(self) -> str:
        """Fold unit by unit, and note the way back."""
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
