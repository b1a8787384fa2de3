"""PubMed XML read into Documents, beside pubmed_parser and lxml's bare iterparse (one process)."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import BinaryIO, cast
from unittest.mock import patch

from lxml import etree

from benchmarks.measure import ROOT, Row, in_turn, say, seconds, write
from taiyi_ray.formats import documents, pubmed, pubmed_short

ROUNDS = 7
CITATIONS = 3_000
TEN_TIMES = 10 * CITATIONS
_REAL = ROOT.parent / "shared" / "data" / "pubmed-xml"
_SAMPLE = ROOT / "examples" / "pubmed-sample.xml"
_ARTICLE = re.compile(rb"<PubmedArticle>.*?</PubmedArticle>", re.DOTALL)


def real_citations() -> list[bytes]:
    """The PubmedArticles of all real files that are here, else of the shipped sample."""
    return [
        article
        for path in sorted(_REAL.glob("*.xml.gz")) or [_SAMPLE]
        for article in _ARTICLE.findall(_opened(path).read())
    ]


def write_files(folder: Path, articles: list[bytes], citations: int) -> list[Path]:
    """Write a file of so many citations, the given ones over and over: with gzip, and plain."""
    plain, packed = folder / f"{citations}.xml", folder / f"{citations}.xml.gz"
    with plain.open("wb") as one, gzip.open(packed, "wb", 6) as other:
        for file in (one, other):
            file.write(b'<?xml version="1.0" encoding="utf-8"?>\n<PubmedArticleSet>\n')
            file.writelines(article + b"\n" for article in islice(cycle(articles), citations))
            file.write(b"</PubmedArticleSet>\n")
    return [packed, plain]


def taiyi_ray(path: Path) -> int:
    """The whole path of the corpus job: records found, each parsed into a Document."""
    with path.open("rb") as file:
        found = documents(file, path.name, pubmed.FORMAT, "benchmark", 0, TEN_TIMES)
        return sum(document.status == "ok" for document in found)


def whole_records(path: Path) -> int:
    """The same without pubmed_short and pubmed_mesh: libxml2 gets each record as it stands."""
    with patch.object(pubmed, "shortened", pubmed_short.Short):
        return taiyi_ray(path)


def headings_parsed(path: Path) -> int:
    """The same without pubmed_mesh alone: MeSH headings are left to libxml2, the rest is cut."""
    with patch.object(pubmed_short.pubmed_mesh, "read", lambda listed: None):
        return taiyi_ray(path)


def pubmed_parser(path: Path) -> int:
    """The peer at its defaults; it reads files with gzip only."""
    from pubmed_parser import parse_medline_xml

    return sum(not article["delete"] for article in parse_medline_xml(str(path)))


def iterparse(path: Path) -> int:
    """Every citation as a tree that nobody looks into, thrown away at once."""
    found = 0
    with _opened(path) as file:
        for _, element in etree.iterparse(file, events=("end",), tag="PubmedArticle"):
            found += 1
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    return found


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


Reader = Callable[[Path], int]
READERS: tuple[Reader, ...] = (
    taiyi_ray,
    whole_records,
    headings_parsed,
    pubmed_parser,
    iterparse,
)


def rate(reader: Reader, path: Path) -> float:
    """Citations a second.

    Raises:
        RuntimeError: the reader did not find all of them.
    """
    found: list[int] = []
    took = seconds(lambda: found.append(reader(path)))
    if found != [CITATIONS]:
        raise RuntimeError(f"{reader.__name__} found {found[0]} citations in {path.name}")
    return CITATIONS / took


def peak(reader: Reader, path: Path) -> int:
    """The most memory that a fresh process holds while it reads the file, in MiB."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        mib = fresh.submit(_read_and_tell_peak, reader, path).result()
    say(f"{reader.__name__} on {path.name}: at most {mib} MiB")
    return mib


def _read_and_tell_peak(reader: Reader, path: Path) -> int:
    reader(path)
    # Not getrusage: what it calls the peak includes the parent's, from before this process began.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def main() -> None:
    """Measure, and write results/parser.json."""
    articles = real_citations()
    with TemporaryDirectory() as folder:
        few = write_files(Path(folder), articles, CITATIONS)
        many = write_files(Path(folder), articles, TEN_TIMES)
        size = few[1].stat().st_size // CITATIONS
        pairs = [(r, n) for n in (0, 1) for r in READERS if n == 0 or r is not pubmed_parser]
        sides = {f"{few[n].suffix} {r.__name__}": partial(rate, r, few[n]) for r, n in pairs}
        rates = {side: median(figures) for side, figures in in_turn(sides, ROUNDS).items()}
        rows: list[Row] = []
        for (reader, n), side in zip(pairs, sides, strict=True):
            rows.append(
                {
                    "file": "plain" if n else "gzip",
                    "reader": reader.__name__,
                    "citations/s": rates[side],
                    "of pubmed_parser": None if n else rates[side] / rates[".gz pubmed_parser"],
                    "of iterparse": rates[side] / rates[f"{few[n].suffix} iterparse"],
                    f"MiB at {CITATIONS:,}": peak(reader, few[n]),
                    f"MiB at {TEN_TIMES:,}": peak(reader, many[n]),
                }
            )
    settings = {
        "rounds": ROUNDS,
        "citations": CITATIONS,
        "different citations": len(articles),
        "bytes a citation": size,
        "origin": "real files" if any(_REAL.glob("*.xml.gz")) else _SAMPLE.name,
    }
    write("parser", rows, packages=["taiyi_ray", "pubmed_parser", "lxml"], settings=settings)


if __name__ == "__main__":
    main()
