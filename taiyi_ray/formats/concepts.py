"""Concepts of mentions: their identifiers in files, and the mentions that an identifier names.

A relation of concepts (PubTator, BioRED) names its ends by identifiers. The identifier of a mention
may consist of parts. They are different concepts (`5594;5595`, `D001943|D010051`), or the names of
one variant as tmVar gives them. Relations in PubTator 3 name such a variant by other parts or in
another order (`RS#:854560;HGVS:p.L55M`):

    tmVar:p|SUB|L|55|M;HGVS:p.L55M;VariantGroup:1;CorrespondingGene:5444;RS#:854560
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from heapq import merge
from itertools import islice
from typing import Final

from taiyi_ray.records import Concept, Mention

_PREFIXED = re.compile(r"([A-Za-z][\w .-]*):(?! )([^:;|,]+)")
_NOTHING = frozenset({"", "-", "-1", "none", "null"})

_SEVERAL = re.compile("[,|+]")
# Parts of the identifier of one variant. They may hold the characters that join concepts elsewhere.
# A _NAME names the variant; a _BELONGING is what it belongs to, which many variants share.
_NAME = re.compile(r"(?:tmVar|HGVS|RS#|CA#):.*|[A-Za-z]?\|[A-Za-z]+\|.*", re.IGNORECASE)
_BELONGING = re.compile(r"(?:Corresponding\w*|VariantGroup|Gene|Disease|Species):.*", re.IGNORECASE)

_MOST_COMPARED: Final = 64
"""The most identifiers with a shared name that are compared with a relation's: real documents have
a few."""


def concept_of(identifier: str | None) -> Concept | None:
    """The concept of an identifier as corpora write it: `MESH:D003000`, `3175`; `-1` gives None."""
    identifier = (identifier or "").strip()
    if identifier.lower() in _NOTHING:
        return None
    named = _PREFIXED.fullmatch(identifier)
    return Concept(named[1], named[2]) if named else Concept("", identifier)


def concepts_of(identifier: str) -> frozenset[str]:
    """The concepts that an identifier names: `MESH:D001943|MESH:D010051` names two.

    They are without the names of their databases, as in `Concept.id`. The names of one variant are
    one concept, the first of them; what a variant belongs to is none.
    """
    names = _names(_parts(identifier))
    of_variant = [name for name in names if _NAME.fullmatch(name)]
    others = [concept_of(name) for name in names if not _NAME.fullmatch(name)]
    return frozenset([*of_variant[:1], *(concept.id for concept in others if concept)])


def identifier_of(concept: Concept) -> str:
    """The inverse of `concept_of`."""
    return f"{concept.db}:{concept.id}" if concept.db else concept.id


class _Concept:
    """The mentions of one identifier, each with its number, and the parts of the identifier."""

    def __init__(self, identifier: str) -> None:
        self.mentions: list[tuple[int, Mention]] = []
        self.parts = frozenset(_parts(identifier))
        self.belongs: dict[str, set[str]] = {}
        for part in self.parts:
            if _BELONGING.fullmatch(part):
                self.belongs.setdefault(part.partition(":")[0], set()).add(part)

    def agrees(self, parts: Iterable[str]) -> bool:
        """Tell whether these parts name no gene, species ... that differs from the identifier's."""
        return all(part in self.belongs.get(part.partition(":")[0], {part}) for part in parts)


class ByConcept:
    """Mentions, by every name that an identifier may give to their concepts."""

    def __init__(self, mentions: Iterable[Mention]) -> None:
        self._named: dict[str, dict[str, _Concept]] = {}  # name -> identifiers that it stands in
        self._found: dict[str, list[Mention]] = {}
        concepts: dict[str, _Concept] = {}
        for number, mention in enumerate(mentions):
            if mention.concept is None:
                continue
            identifier = identifier_of(mention.concept)
            if identifier not in concepts:
                concept = concepts[identifier] = _Concept(identifier)
                for name in (identifier, mention.concept.id, *_names(concept.parts)):
                    self._named.setdefault(name, {})[identifier] = concept
            concepts[identifier].mentions.append((number, mention))

    def named(self, identifier: str) -> list[Mention]:
        """The mentions that an identifier names, in their order.

        These are the mentions whose identifier is this one or has it as a part. If there are none,
        they are the mentions whose identifiers have all of its parts, in any order; else those
        whose identifiers share a name of the variant with it.
        """
        if identifier not in self._found:
            named = self._named.get(identifier)
            concepts = list(named.values()) if named else self._by_parts(identifier)
            self._found[identifier] = [m for _, m in merge(*(c.mentions for c in concepts))]
        return self._found[identifier]

    def _by_parts(self, identifier: str) -> list[_Concept]:
        parts = frozenset(_parts(identifier))
        having = {name: self._named[name] for name in _names(parts) if name in self._named}
        if not having:
            return []
        rarest = islice(min(having.values(), key=len).values(), _MOST_COMPARED)
        if whole := [concept for concept in rarest if parts <= concept.parts]:
            return whole
        sharing = {
            other: concept
            for name, concepts in having.items()
            if _NAME.fullmatch(name)
            for other, concept in islice(concepts.items(), _MOST_COMPARED)
            if concept.agrees(parts)
        }
        return list(sharing.values())


def _parts(identifier: str) -> list[str]:
    """The parts of an identifier: different concepts, or names and properties of one variant."""
    parts: list[str] = []
    for part in identifier.split(";"):
        one = _NAME.fullmatch(part.strip()) or _BELONGING.fullmatch(part.strip())
        parts += [part] if one else _SEVERAL.split(part)
    return [part.strip() for part in parts if part.strip()]


def _names(parts: Iterable[str]) -> list[str]:
    """The parts that name a concept, without those that say what it belongs to."""
    return [part for part in parts if not _BELONGING.fullmatch(part)]
