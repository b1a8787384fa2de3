"""Mentions found again in their texts, beside langextract's aligner (one process).

Every mention's position is known. It is asked for as it stands and with one change at a time, as
models make them: in case, width, hyphens and white space. Right is a mention whose own range is
among those that come back. Both sides are given a document's mentions together, in text order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import median

from langextract.core.data import Extraction
from langextract.core.tokenizer import UnicodeTokenizer
from langextract.resolver import Resolver

from benchmarks.gold import DATA
from benchmarks.measure import ROOT, Row, in_turn, seconds, write
from taiyi_ray.formats import documents, format_of
from taiyi_ray.forms import Running
from taiyi_ray.grounding import Locator
from taiyi_ray.records import Document
from tests import samples

ROUNDS = 5
DOCUMENTS = 100
SEED = 20
_CORPORA = {"en": ("bc5cdr", "test"), "zh": ("CMeEE-V2", "dev")}
_WIDE = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)}

Change = Callable[[str, str, random.Random], str]


def exact(surface: str, language: str, draw: random.Random) -> str:
    """The surface as it stands."""
    return surface


def case(surface: str, language: str, draw: random.Random) -> str:
    """Upper case for lower, and the other way round."""
    return surface.swapcase()


def width(surface: str, language: str, draw: random.Random) -> str:
    """Full width for half."""
    return surface.translate(_WIDE)


def hyphens(surface: str, language: str, draw: random.Random) -> str:
    """A blank for a hyphen, else a hyphen for a blank; in Chinese another hyphen."""
    if language == "zh":
        return surface.replace("-", "\u2013")
    return surface.replace("-", " ") if "-" in surface else surface.replace(" ", "-")


def white_space(surface: str, language: str, draw: random.Random) -> str:
    """A line break and more for a blank; in Chinese a blank between two characters."""
    if language == "zh" and len(surface) > 1:
        at = draw.randrange(1, len(surface))
        return f"{surface[:at]} {surface[at:]}"
    return surface.replace(" ", " \n ")


CHANGES: tuple[Change, ...] = (exact, case, width, hyphens, white_space)


@dataclass(frozen=True)
class Planted:
    """A document, what is asked for in it, and where each of that stands."""

    document: Document
    surfaces: list[str]
    ranges: list[tuple[int, int]]


def gold(language: str) -> Iterator[tuple[Document, list[tuple[int, int]]]]:
    """Documents and the ranges of their mentions: gold, or runs of words of the samples."""
    if not DATA.is_dir():
        yield from _shipped(language)
        return
    for document, found in samples.corpus(DATA, *_CORPORA[language]):
        yield document, sorted({(m.start or 0, m.end or 0) for m in found.mentions})


def _shipped(language: str) -> Iterator[tuple[Document, list[tuple[int, int]]]]:
    draw = random.Random(SEED)
    name = "chinese-sample.jsonl" if language == "zh" else "pubmed-sample.xml"
    format_ = format_of(name)
    assert format_ is not None
    with (ROOT / "examples" / name).open("rb") as file:
        for document in documents(file, name, format_, "benchmark", 0, DOCUMENTS):
            text = document.text
            yield document, sorted({_words(text, language, draw) for _ in range(10)})


def _words(text: str, language: str, draw: random.Random) -> tuple[int, int]:
    """The range of two neighbouring words, or of four characters in Chinese."""
    if language == "zh":
        at = draw.randrange(max(1, len(text) - 4))
        return at, min(len(text), at + 4)
    starts = [at for at in range(1, len(text)) if text[at - 1].isspace()] or [0]
    start = draw.choice(starts)
    end = text.find(" ", text.find(" ", start) + 1)
    return start, end if end > start else len(text)


def planted(language: str, change: Change) -> list[Planted]:
    """What the change leaves other than it is, document by document."""
    draw = random.Random(SEED)
    plants = []
    for document, ranges in islice(gold(language), DOCUMENTS):
        asked = [(change(document.text[s:e], language, draw), (s, e)) for s, e in ranges]
        kept = [
            (surface, (start, end))
            for surface, (start, end) in asked
            if (surface == document.text[start:end]) == (change is exact)
        ]
        if kept:
            plants.append(Planted(document, [s for s, _ in kept], [r for _, r in kept]))
    return plants


Ranges = list[list[tuple[int, int]]]
"""For each surface of a document the ranges where it was found."""


def taiyi_ray(plant: Planted, language: str) -> Callable[[], Ranges]:
    """The work of a Locator as for a free answer."""

    def work() -> Ranges:
        text = Running((p.offset, p.text) for p in plant.document.passages)
        locator = Locator(text, language, fold=True)
        return [[(x.start, x.end) for x in locator.find(s)[0]] for s in plant.surfaces]

    return work


def langextract(plant: Planted, language: str) -> Callable[[], Ranges]:
    """The work of the aligner at its defaults, for Chinese with the tokenizer meant for it."""
    extractions = [Extraction("mention", surface) for surface in plant.surfaces]
    tokenizer = UnicodeTokenizer() if language == "zh" else None

    def work() -> Ranges:
        aligned = Resolver().align(
            extractions, plant.document.text, token_offset=0, tokenizer_inst=tokenizer
        )
        places = [extraction.char_interval for extraction in aligned]
        return [[(p.start_pos, p.end_pos)] if p else [] for p in places]

    return work


Side = Callable[[Planted, str], Callable[[], Ranges]]
SIDES: tuple[Side, ...] = (taiyi_ray, langextract)


def rate(side: Side, plants: list[Planted], language: str) -> float:
    """Mentions a second; what is made beforehand does not count."""
    work = [side(plant, language) for plant in plants]
    return sum(len(p.surfaces) for p in plants) / seconds(lambda: [one() for one in work])


def verdicts(side: Side, plants: list[Planted], language: str) -> tuple[int, int, int]:
    """How many mentions are right; found elsewhere only; not found."""
    right = elsewhere = missing = 0
    for plant in plants:
        for place, found in zip(plant.ranges, side(plant, language)(), strict=True):
            right += place in found
            elsewhere += bool(found) and place not in found
            missing += not found
    return right, elsewhere, missing


def row(language: str, change: str, plants: list[Planted]) -> Row:
    """One line of the table: both sides on the same mentions."""
    sides = {side.__name__: partial(rate, side, plants, language) for side in SIDES}
    rates = {name: median(figures) for name, figures in in_turn(sides, ROUNDS).items()}
    mentions = sum(len(plant.surfaces) for plant in plants)
    line: Row = {"language": language, "change": change, "mentions": mentions}
    for side in SIDES:
        name = side.__name__
        right, elsewhere, missing = verdicts(side, plants, language)
        line[f"{name}: right"] = f"{right / mentions:.1%}"
        line[f"{name}: elsewhere"] = elsewhere
        line[f"{name}: not found"] = missing
        line[f"{name}: mentions/s"] = rates[name]
    line["times the rate"] = rates["taiyi_ray"] / rates["langextract"]
    return line


def main() -> None:
    """Measure, and write results/locate.json."""
    rows = []
    for language in ("en", "zh"):
        plants = {change.__name__: planted(language, change) for change in CHANGES}
        plants["all"] = [plant for some in plants.values() for plant in some]
        rows += [row(language, change.replace("_", " "), some) for change, some in plants.items()]
    settings = {
        "rounds": ROUNDS,
        "documents": DOCUMENTS,
        "seed": SEED,
        "texts": "BC5CDR test, CMeEE-V2" if DATA.is_dir() else "examples",
    }
    write("locate", rows, packages=["taiyi_ray", "langextract"], settings=settings)


if __name__ == "__main__":
    main()
