"""Real records, mutated: no input breaks a parser, hangs it, or makes it take memory unbounded."""

from __future__ import annotations

import gzip
import io
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from taiyi_ray.formats import documents, format_of, raw_records
from taiyi_ray.records import DOCUMENT_SCHEMA, document_row

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 10
"""Of the processor, for one input of some 50 kB: a hang, whatever else the machine does."""
MEMORY = 256 << 20
"""More than the process had before: expanded entities would need far more."""

BOMB = "".join(
    f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' if n else '<!ENTITY b0 "0123456789">'
    for n in range(10)
)
PIECES = [
    *("<", ">", "&", "&amp;", "&#0;", "&#xFFFFFFFF;", "&#xD800;", "&undefined;", "&b9;", "]]>"),
    *("<!--", "-->", "<![CDATA[", "<?", "?>", "<!DOCTYPE", '"', "'", "\0", "\ufeff", "\udcff"),
    *("<i>", "</i>", "<i>" * 300, "<math>", "</AbstractText>", "<PubmedArticle>", "</PMID>"),
    *("</PubmedArticleSet>", "<DeleteCitation><PMID>1</PMID>", "9" * 400, "x" * 5000),
    *("{", "}", "[" * 3000, '"text": ', "null", "1e999", "-0", "\\ud800", "\\u0000", "\n", "\r"),
    f"<!DOCTYPE PubmedArticleSet [{BOMB}]>",
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
]


@cache
def samples(name: str) -> list[bytes]:
    """Small files of one or two records each."""
    data = (EXAMPLES / name).read_bytes()
    if name.endswith(".jsonl"):
        lines = data.splitlines(keepends=True)
        return [b"".join(lines[n : n + 2]) for n in range(len(lines))]
    head, *rest = re.split(rb"(?=<PubmedArticle>)", data)
    rest[-1] = rest[-1].removesuffix(b"</PubmedArticleSet>\n")
    return [head + b"".join(rest[n : n + 2]) + b"</PubmedArticleSet>" for n in range(len(rest))]


PLACE = st.floats(0, 1, exclude_max=True)
MUTATION = st.one_of(
    st.tuples(st.just("flip"), PLACE, st.integers(1, 255)),
    st.tuples(st.just("cut"), PLACE, st.integers(1, 3000)),
    st.tuples(st.just("double"), PLACE, st.integers(1, 3000)),
    st.tuples(st.just("end"), PLACE, st.just(0)),
    st.tuples(st.just("swap"), PLACE, st.integers(1, 40)),
    st.tuples(st.just("insert"), PLACE, st.sampled_from(PIECES)),
)


def mutate(data: bytes, mutation: tuple[str, float, int | str]) -> bytes:
    kind, place, what = mutation
    at = int(place * len(data))
    if isinstance(what, str):
        return data[:at] + what.encode("utf-8", "surrogatepass") + data[at:]
    match kind:
        case "flip":
            return data[:at] + bytes(byte ^ what for byte in data[at : at + 1]) + data[at + 1 :]
        case "cut":
            return data[:at] + data[at + what :]
        case "double":
            return data[: at + what] + data[at:]
        case "swap":  # a tag (else a word) and the one so many farther on
            spans = [m.span() for m in re.finditer(rb"<[^<>]*>|\w+", data)]
            if len(spans) <= what:
                return data
            first = int(place * (len(spans) - what))
            (a, b), (c, d) = spans[first], spans[first + what]
            return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]
        case _:
            return data[:at]


class Hang(BaseException):
    """Not an Exception, which a parser may take for the data's fault."""


@contextmanager
def bounded() -> Iterator[None]:
    """Limit what one input may take."""

    def hang(*_: object) -> None:
        raise Hang(f"an input took more than {SECONDS} seconds of the processor")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = signal.signal(signal.SIGVTALRM, hang)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGVTALRM, before)


def fuzz(name: str, examples: int) -> int:
    """Read so many mutated files of the format of `name`; return how many records were broken."""
    format_ = format_of(name)
    assert format_ is not None
    broken = 0

    @settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from(samples(name)),
        st.lists(MUTATION, min_size=1, max_size=8),
        st.sampled_from(["", "", "", ".gz", "damaged.gz"]),
    )
    def one(data: bytes, mutations: list[tuple[str, float, int | str]], packed: str) -> None:
        nonlocal broken
        for mutation in mutations:
            data = mutate(data, mutation)
        path = name + packed.removeprefix("damaged")
        if packed:
            data = gzip.compress(data, 1, mtime=0)
        if packed == "damaged.gz":
            data = mutate(data, mutations[0])
        with bounded():
            planned = sum(1 for _ in raw_records(io.BytesIO(data), path, format_))
            found = list(documents(io.BytesIO(data), path, format_, "s", 0, planned))
            table = pa.Table.from_pylist([document_row(d) for d in found], DOCUMENT_SCHEMA)
        assert [document.position for document in found] == list(range(planned))
        assert table.nbytes < 50 * (len(data) + 10_000)
        for document in found:
            assert bool(document.errors) == (document.status == "failed")
            assert "root:" not in document.text  # of /etc/passwd
            broken += document.status == "failed"

    one()
    return broken


NAMES = ["pubmed-sample.xml", "chinese-sample.jsonl"]


@pytest.mark.parametrize("name", NAMES)
def test_mutated_records(name):
    assert fuzz(name, 300) > 30


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_mutated_records(name):
    assert fuzz(name, 10_000) > 500
