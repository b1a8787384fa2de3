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
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from taiyi_ray.formats import FORMATS, documents, format_of, raw_records
from taiyi_ray.formats.format import Format
from taiyi_ray.records import DOCUMENT_SCHEMA, LONGEST_MESSAGE, document_row
from tests.formats import by_name
from tests.formats.annotated import check_contracts

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
    *("{", "}", "[", "]", ",", ":", "\\", "|", "\t", "[" * 100_000, "[" * 600 + "]" * 600),
    *("9" * 5000, "-1", "1e400", "99999999", "\n\n", '"offset": 99999999', "T1\tX 0 9;0 9\ta\n"),
    *('"text": ', "null", "1e999", "-0", "\\ud800", "\\u0000", "\n", "\r"),
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
def bounded(memory: int = MEMORY, seconds: int = SECONDS) -> Iterator[None]:
    """Limit what one input may take."""

    def hang(*_: object) -> None:
        raise Hang(f"an input took more than {seconds} seconds of the processor")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = signal.signal(signal.SIGVTALRM, hang)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, limits[1]))
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
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


def packed(rows: list[dict[str, object]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


BIOC = """{"id": "%s", "infons": {"labels": "[]"}, "passages": [{"offset": 0, "infons":
{"type": "title"}, "text": "TNF in mice", "annotations": [{"id": "1", "infons": {"type": "Gene",
"identifier": "7124"}, "text": "TNF", "locations": [{"offset": 0, "length": 3}]}]}, {"offset": 12,
"sentences": [{"offset": 12, "text": "A one."}, {"offset": 20, "text": "B two."}]}],
"relations": [{"id": "R1", "infons": {"type": "x", "arguments": "[]"}, "nodes": [{"refid": "1",
"role": "a"}]}]}"""
WHOLE: dict[str, bytes] = {
    "pubmed": b"".join(samples("pubmed-sample.xml")[:1]),
    "jats": b"""<article xml:lang="en"><front><article-meta><article-id pub-id-type="pmid">1
</article-id><title-group><article-title>T <i>x</i></article-title></title-group><abstract><p>An
abstract.</p></abstract></article-meta></front><body><sec><title>Results</title><p>A <math><mi>x
</mi></math>.</p><table-wrap><table><tr><td>a</td></tr></table></table-wrap></sec></body>
</article>""",
    "bioc-xml": b"""<collection><document><id>1</id><infon key="a">b</infon><passage><infon
key="type">title</infon><offset>0</offset><text>TNF in mice</text><annotation id="1"><infon
key="type">Gene</infon><location offset="0" length="3"/><text>TNF</text></annotation></passage>
<relation id="R1"><node refid="1" role="a"/><node refid="1" role="b"/></relation></document>
<document><id>2</id></document></collection>""",
    "bioc-json": f'{{"documents": [\n{BIOC % 1},\n{BIOC % 2}\n]}}'.encode(),
    "pubtator": b"1|t|TNF in mice\n1|a|A\n1\t0\t3\tTNF\tGene\t7124\n1\tx\t7124\t7124\n\n2|t|x\n",
    "brat": b"T1\tGene 0 3;4 6\tTNF in\nE1\tX:T1 A:T1\nR1\tx Arg1:T1 Arg2:T1\nN1\tR T1 a:b\tc\n",
    "jsonl": b"".join(samples("chinese-sample.jsonl")[:1]),
    "parquet": packed([{"document_id": n, "text": "a" * n, "tags": ["x"]} for n in range(9)]),
    "text": "TNF in mice 中\n".encode(),
}


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
def test_whatever_the_bytes_each_record_is_a_row_and_a_failed_one_says_why(format_: Format) -> None:
    path = f"a{format_.suffixes[0]}"

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.just(WHOLE[format_.name]) | st.binary(max_size=300),
        st.lists(MUTATION, max_size=5),
        st.sampled_from([b"TNF in mice", b"\xff\0", b"", "中".encode() * 5000]),
    )
    def one(data: bytes, mutations: list[tuple[str, float, int | str]], text: bytes) -> None:
        for mutation in mutations:
            data = mutate(data, mutation)
        files = {"a.txt": text}
        # Arrow takes address space that it does not use.
        with bounded(4 << 30 if format_.name == "parquet" else MEMORY):
            records = list(raw_records(io.BytesIO(data), path, format_, files.get))
            found = list(
                documents(io.BytesIO(data), path, format_, "s", 0, 1 << 40, read=files.get)
            )
            pa.Table.from_pylist([document_row(d) for d in found], DOCUMENT_SCHEMA)
        assert [document.position for document in found] == list(range(len(records)))
        for record, document in zip(records, found, strict=True):
            assert document.status in ("ok", "deleted", "failed")
            assert len(document.text) <= record.size + 1
            if document.status == "failed":
                (error,) = document.errors
                assert error.kind and 0 < len(error.message) <= LONGEST_MESSAGE
                assert error.kind != "unreadable", error.message  # a fault of ours
            else:
                check_contracts(document)

    one()


@pytest.mark.parametrize("name", by_name.SAMPLES)
def test_whatever_the_bytes_each_record_by_name_is_a_row_and_a_failed_one_says_why(name):
    sample = by_name.SAMPLES[name]
    format_ = sample.bound

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(MUTATION, min_size=1, max_size=5))
    def one(mutations: list[tuple[str, float, int | str]]) -> None:
        data = sample.data
        for mutation in mutations:
            data = mutate(data, mutation)
        files = {f"a.{ending}": content for ending, content in sample.beside.items()}
        with bounded():
            records = list(raw_records(io.BytesIO(data), sample.path, format_, files.get))
            found = sample.read(data)
            pa.Table.from_pylist([document_row(d) for d in found], DOCUMENT_SCHEMA)
        assert [document.position for document in found] == list(range(len(records)))
        for record, document in zip(records, found, strict=True):
            assert len(document.text) <= record.size + len(document.passages)
            assert all(error.kind != "unreadable" for error in document.errors), document.errors
            check_contracts(document)

    one()


@pytest.mark.parametrize("name", by_name.SAMPLES)
def test_a_long_run_of_anything_takes_little_memory_by_name(name):
    sample = by_name.SAMPLES[name]
    for piece in REPEATED:
        with bounded():
            sample.read(piece.encode() * ((1 << 14) // len(piece)))


REPEATED = ["\n", "{", "[", "<", "1|t|\n", '{"a":', "T1\t", '"', "[[],", "x\n"]


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
def test_a_long_run_of_anything_takes_little_memory(format_: Format) -> None:
    path = f"a{format_.suffixes[0]}"
    for piece in REPEATED:
        data = piece.encode() * ((1 << 18) // len(piece))
        with bounded(4 << 30 if format_.name == "parquet" else MEMORY):
            for _ in documents(io.BytesIO(data), path, format_, "s", 0, 99):
                pass


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
def test_a_tag_that_never_ends_takes_little_time(format_: Format) -> None:
    path = f"a{format_.suffixes[0]}"
    for begin, piece in (
        ("<", "a"),
        ("<a", " b"),
        ("</", "a"),
        ("<!DOCTYPE ", "a"),
        ("<a b='", "c"),
    ):
        data = begin.encode() + piece.encode() * (1 << 18)
        with bounded(4 << 30 if format_.name == "parquet" else MEMORY):
            for _ in documents(io.BytesIO(data), path, format_, "s", 0, 99):
                pass


NAMES = ["pubmed-sample.xml", "chinese-sample.jsonl"]


@pytest.mark.parametrize("name", NAMES)
def test_mutated_records(name):
    assert fuzz(name, 300) > 30


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_mutated_records(name):
    assert fuzz(name, 10_000) > 500
