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
from taiyi_ray.records import Concept, Document

_LONGEST: Final = 1 << 20
"""The most characters of a text that is searched."""
_MOST: Final = 1 << 16
"""The most mentions that are located in a document: one letter can stand in it a million times."""
_MOST_SEARCHED: Final = 1 << 30
"""The most characters that all searches in a document pass: otherwise very many surfaces that stand
nowhere in a long text would take hours."""


class Unplaced:
    """Locates the surfaces that a source names in a document.

    Args:
        gold: gets the mentions.
        document: the document, with its passages.
    """

    def __init__(self, gold: Gold, document: Document) -> None:
        self._gold, self._document = gold, document
        self._keys: dict[tuple[str | None, str, str | None], list[str]] = {}
        self._located = self._searched = 0

    def mentions(
        self, type_: str | None, surface: str, concept: Concept | None = None
    ) -> list[str]:
        """Add a mention at each place of a surface, once a type and concept; return their keys.

        Args:
            type_: the type of the mentions; None without one.
            surface: their text.
            concept: what they were normalised to.
        """
        surface = surface.strip()
        if not surface:
            self._gold.leave_out("mentions without a text")
            return []
        wanted = (type_, surface, concept.id if concept else None)
        if wanted not in self._keys:
            self._keys[wanted] = self._added(type_, surface, concept)
        return self._keys[wanted]

    def _added(self, type_: str | None, surface: str, concept: Concept | None) -> list[str]:
        number = len(self._keys)
        places = []
        room = self._located < _MOST and self._searched < _MOST_SEARCHED
        if len(self._text) <= _LONGEST and room:
            self._searched += len(self._text)
            spans, _ = self._locator.find(surface)
            places = [(span.start, span.end) for span in spans[: _MOST - self._located]]
        self._located += len(places)
        for at, place in enumerate(places):
            text = self._text[slice(*place)]
            self._gold.mention(f"u{number}.{at}", type_, text, [place], concept=concept)
        if not places:
            self._gold.mention(
                f"u{number}.0", type_, surface, [], misplaced="no place", concept=concept
            )
        return [f"u{number}.{at}" for at in range(max(1, len(places)))]

    @cached_property
    def _text(self) -> str:
        return self._document.text

    @cached_property
    def _locator(self) -> Locator:
        chinese = any(passage.language == "zh" for passage in self._document.passages)
        running = Running([(p.offset, p.text) for p in self._document.passages])
        return Locator(running, "zh" if chinese else "en", fold=True)
