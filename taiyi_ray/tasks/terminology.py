"""A list of terms (a terminology), and the entries of it that words may mean."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from rapidfuzz import fuzz, process, utils

from taiyi_ray import storage
from taiyi_ray.forms import Folded, Running, is_han
from taiyi_ray.records import Span

_WORD = re.compile(r"\w+")
_NAMES_AN_ENTRY = 8
"""So many of the most similar names are looked at for each candidate, because an entry may have
many similar names."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a terminology.

    Attributes:
        id: its identifier.
        names: its names, the preferred one first.
    """

    id: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Terminology:
    """Entries, by the names that they have; names in any language may stand beside each other.

    Attributes:
        entries: the entries.
    """

    entries: tuple[Entry, ...]

    def __hash__(self) -> int:
        return hash(self.digest)  # the hash of all entries would be computed again each time

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the SHA-256 of all entries."""
        lines = ("\t".join((entry.id, *entry.names)) for entry in self.entries)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    @cached_property
    def _by_form(self) -> dict[str, list[Entry]]:
        """The entries of each name, as it is and folded."""
        by_form: dict[str, list[Entry]] = {}
        for entry in self.entries:
            for name in entry.names:
                for form in dict.fromkeys((name, _folded(name))):
                    of_form = by_form.setdefault(form, [])
                    if of_form[-1:] != [entry]:  # names of one entry may be folded to the same
                        of_form.append(entry)
        return by_form

    @cached_property
    def _in_chinese(self) -> frozenset[str]:
        """All names as a Chinese text is folded, where blanks vanish."""
        names = (name for entry in self.entries for name in entry.names)
        return frozenset(Folded(name, "zh").text for name in names)

    @cached_property
    def _by_words(self) -> dict[str, list[Entry]]:
        """The entries of each name, as its words without punctuation."""
        by_words: dict[str, list[Entry]] = {}
        for form, entries in self._by_form.items():
            by_words.setdefault(utils.default_process(form), []).extend(entries)
        return by_words

    @cached_property
    def _words(self) -> list[str]:
        return list(self._by_words)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._by_form), default=0)

    def candidates(self, words: str, most: int) -> list[Entry]:
        """The entries that words may mean, the likeliest first, in any language.

        Entries that have the words as a name come first, then those that have them when case,
        width and the like are ignored, then those with the most similar names (rapidfuzz's
        token_sort_ratio: the share of characters in common, whatever the order of the words). Of
        rapidfuzz's scorers it finds most terms of Chinese operations.

        Args:
            words: the words of a mention.
            most: the most entries.
        """
        return list(_candidates(self, words, most))

    def occurrences(self, text: Running, language: str) -> Iterator[tuple[str, Span]]:
        """Yield the names of entries that occur in a text, folded, with their offsets.

        Where names overlap, the one that begins first counts, and of those the longest. Outside
        Chinese a name begins and ends with a word. In Chinese no name is a piece of a foreign word
        or of a number.

        Args:
            text: the text.
            language: of the text.
        """
        folded = Folded(text.text, language)
        known = self._in_chinese if language == "zh" else self._by_form
        if language == "zh":
            starts = ends = list(range(len(folded.text) + 1))
        else:
            words = [match.span() for match in _WORD.finditer(folded.text)]
            starts, ends = [start for start, _ in words], [end for _, end in words]
        behind = first = 0
        for start in starts:
            while first < len(ends) and ends[first] <= start:
                first += 1
            if start < behind:
                continue
            last = first
            while last < len(ends) and ends[last] - start <= self._longest:
                last += 1
            for end in reversed(ends[first:last]):
                if folded.text[start:end] in known:
                    at = folded.range(start, end)
                    if language == "zh" and any(_in_a_word(text.text, edge) for edge in at):
                        continue
                    yield text.text[slice(*at)], Span(*text.range(*at))
                    behind = end
                    break


@lru_cache(maxsize=1 << 14)
def _candidates(terminology: Terminology, words: str, most: int) -> tuple[Entry, ...]:
    by_form = terminology._by_form
    found: dict[Entry, None] = {}
    for form in (words, _folded(words)):
        found |= dict.fromkeys(by_form.get(form, ()))
    if len(found) < most:
        query = utils.default_process(_folded(words))
        limit = most * _NAMES_AN_ENTRY
        for similar, _, _ in process.extract(
            query, terminology._words, scorer=fuzz.token_sort_ratio, limit=limit
        ):
            found |= dict.fromkeys(terminology._by_words[similar])
    return tuple(found)[:most]


def _in_a_word(text: str, at: int) -> bool:
    """Whether letters or digits other than Han characters stand on both sides of an offset."""
    around = text[at - 1 : at + 1] if at else ""
    return len(around) == 2 and all(c.isalnum() and not is_han(c) for c in around)


def _folded(name: str) -> str:
    language = "zh" if any(map(is_han, name)) else "en"
    return Folded(name, language).text.strip()


def from_mapping(entries: Mapping[object, object]) -> Terminology:
    """Make a terminology of names by identifier: `{D001241: [Aspirin, acetylsalicylic acid]}`.

    Raises:
        ValueError: an identifier or a name is no text, is blank or holds a tab or a line end.
    """
    made = []
    for id_, given in entries.items():
        names = given if isinstance(given, (list, tuple)) else [given]
        words = [value.strip() for value in (id_, *names) if isinstance(value, str)]
        if len(words) != 1 + len(names) or any(not w or set(w) & set("\t\n\r") for w in words):
            raise ValueError(f"{id_!r}: identifier and names must be text in one line")
        if not names:
            raise ValueError(f"{id_!r} has no name")
        made.append(Entry(words[0], tuple(dict.fromkeys(words[1:]))))
    if not made:
        raise ValueError("there is no entry")
    return Terminology(tuple(made))


def read(path: str) -> Terminology:
    """Read a terminology from a file in UTF-8: in each line an identifier, a tab and a name.

    Further names follow behind tabs, or in other lines with the same identifier.

    Args:
        path: the path, or the s3:// address.

    Raises:
        ValueError: the file cannot be read, or a line has another form.
        StorageError: the store of the address cannot be read.
    """
    try:
        data = storage.read(storage.absolute(path))
        text = data.decode("utf-8-sig") if data is not None else None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8: {error}") from error
    if text is None:
        raise ValueError(f"{path}: no such file")
    names: dict[object, object] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        id_, *more = (part.strip() for part in line.split("\t"))
        more = [name for name in more if name]
        if not id_ or not more:
            raise ValueError(f"{path}, line {number}: expected an identifier, a tab and a name")
        known = names.setdefault(id_, [])
        assert isinstance(known, list)
        known += more
    return from_mapping(names)
