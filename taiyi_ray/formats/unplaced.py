"""Mentions that a source names without saying where they stand: they are located in its text.

A source that gives only surfaces (CMeIE's triples, the entities of an instruction) means each place
where the surface stands. A surface that stands nowhere is kept without offsets and counted
(`gold_offsets`).
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

from taiyi_ray.formats.gold import Gold
from taiyi_ray.forms import Running
from taiyi_ray.grounding import Locator
from taiyi_ray.records import Document

_LONGEST: Final = 1 << 20
"""The most characters of a text that is searched."""
_MOST: Final = 1 << 16
"""The most mentions that are located in a document: one letter can stand in it a million times."""


class Unplaced:
    """Locates the surfaces that a source names in a document.

    Args:
        gold: gets the mentions.
        document: the document, with its passages.
    """

    def __init__(self, gold: Gold, document: Document) -> None:
        self._gold, self._document = gold, document
        self._keys: dict[tuple[str | None, str], list[str]] = {}
        self._located = 0

    def mentions(self, type_: str | None, surface: str) -> list[str]:
        """Add a mention at each place of a surface, once a type; return their keys.

        Args:
            type_: the type of the mentions; None without one.
            surface: their text.
        """
        surface = surface.strip()
        if not surface:
            self._gold.leave_out("mentions without a text")
            return []
        if (type_, surface) not in self._keys:
            self._keys[type_, surface] = self._added(type_, surface)
        return self._keys[type_, surface]

    def _added(self, type_: str | None, surface: str) -> list[str]:
        number = len(self._keys)
        places = []
        if len(self._text) <= _LONGEST and self._located < _MOST:
            spans, _ = self._locator.find(surface)
            places = [(span.start, span.end) for span in spans[: _MOST - self._located]]
        self._located += len(places)
        for at, place in enumerate(places):
            self._gold.mention(f"u{number}.{at}", type_, self._text[slice(*place)], [place])
        if not places:
            self._gold.mention(f"u{number}.0", type_, surface, [], misplaced="no place")
        return [f"u{number}.{at}" for at in range(max(1, len(places)))]

    @cached_property
    def _text(self) -> str:
        return self._document.text

    @cached_property
    def _locator(self) -> Locator:
        chinese = any(passage.language == "zh" for passage in self._document.passages)
        running = Running([(p.offset, p.text) for p in self._document.passages])
        return Locator(running, "zh" if chinese else "en", fold=True)
