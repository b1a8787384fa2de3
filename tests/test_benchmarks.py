"""The benchmarks' own parts: figures taken in turn, tables; and work counted, not timed."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest
from aiohttp import web
from lxml import etree

from benchmarks import measure, serve, tables
from taiyi_ray.formats import documents, pubmed, xml_scanner
from taiyi_ray.forms import Running
from taiyi_ray.grounding import Locator

SAMPLE = Path(__file__).parents[1] / "examples" / "pubmed-sample.xml"

# ---------------------------------------------------------------------------------------- measuring


def test_every_side_runs_once_a_round_and_each_round_begins_with_another() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[], float]:
        return lambda: order.append(name) or float(len(order))  # type: ignore[func-returns-value]

    figures = measure.in_turn({name: side(name) for name in "abc"}, 4)
    assert "".join(order) == "abcbcacababc"
    assert figures == {"a": [1, 6, 8, 10], "b": [2, 4, 9, 11], "c": [3, 5, 7, 12]}


def test_table() -> None:
    rows = [{"side": "ours", "rate": 12345.6, "n": 1000}, {"side": "x", "rate": 0.51234, "n": None}]
    assert measure.table(rows) == (
        "| side | rate | n |\n| --- | --- | --- |\n| ours | 12,346 | 1,000 |\n| x | 0.512 |  |"
    )


def test_result_and_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (measure, tables):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    monkeypatch.setattr(measure, "revision", lambda: "abc1234")
    measure.write("some", [{"side": "ours", "rate": 2.0}], packages=["pytest"], settings={"n": 3})
    result = json.loads((tmp_path / "results" / "some.json").read_text("utf-8"))
    assert (result["command"], result["settings"]) == ("make bench-some", {"n": 3})
    assert result["versions"]["pytest"] == pytest.__version__
    assert "| ours | 2 |" in capsys.readouterr().out

    text = "before\n<!-- table: some -->\nold\n<!-- end -->\nafter\n"
    filled = tables.filled(text)
    assert filled.startswith("before\n<!-- table: some -->\n| side | rate |\n")
    assert filled.endswith("\n<!-- end -->\nafter\n")
    assert "old" not in filled and "revision abc1234" in filled
    assert tables.filled(filled) == filled
    with pytest.raises(FileNotFoundError):
        tables.filled(text.replace("some", "other"))


@pytest.mark.parametrize("path", tables.PAGES, ids=lambda path: path.name)
def test_the_pages_have_the_tables_of_the_results(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert tables.filled(page) == page, "run `make bench-tables`"


# ------------------------------------------------------------------------------- asking a server


class Chats:
    """A server of chats: answers in pieces, cut anywhere, and counts how many it has at once."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.now = self.most = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.now += 1
        self.most = max(self.most, self.now)
        usage = {"usage": {"completion_tokens": 3}}
        try:
            if not body.get("stream"):
                return web.json_response(usage)
            response = web.StreamResponse()
            await response.prepare(request)
            deltas = [
                {"role": "assistant", "content": ""},
                {"content": "two"},
                {"content": "three"},
            ]
            events = [{"choices": [{"delta": delta}]} for delta in deltas] + [usage]
            lines = [json.dumps(event, separators=(",", ":")) for event in events] + ["[DONE]"]
            for line in lines:
                event = f"data: {line}\n\n".encode()
                for piece in (event[:50], event[50:]):
                    await response.write(piece)
                    await asyncio.sleep(0.01)
            return response
        finally:
            self.now -= 1

    async def asked(self, prompts: list[str], at_once: int, streamed: bool) -> list[serve.Answer]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            served = serve.Served(site.name, psutil.Process())
            return await serve.answers_of(served, prompts, at_once, streamed)
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("streamed", [True, False])
def test_every_prompt_is_asked_once_and_so_many_at_once(streamed: bool) -> None:
    chats = Chats()
    prompts = [f"prompt {number}" for number in range(7)]
    answers = asyncio.run(chats.asked(prompts, 3, streamed))
    assert [body["messages"][0]["content"] for body in chats.bodies] == prompts
    assert chats.most <= 3
    assert not streamed or chats.most == 3
    assert [answer.tokens for answer in answers] == [3] * 7
    # The piece with the role alone comes 20 ms before the first text.
    assert all(0.02 <= a.first < a.whole if streamed else a.first == a.whole for a in answers)


# ------------------------------------------------------------------------------------ work counted


def calls(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, are called: the same on every machine."""
    count = 0

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def read(data: bytes) -> int:
    return sum(1 for _ in documents(io.BytesIO(data), "a.xml", pubmed.FORMAT, "a", 0, 1 << 40))


def test_calls_are_few_beside_the_elements_of_a_bare_pass() -> None:
    data = SAMPLE.read_bytes()
    read(data)  # what is worked out once is worked out
    elements = sum(1 for _ in etree.iterparse(io.BytesIO(data)))
    assert calls(lambda: read(data)) < 2.5 * elements


def test_lists_that_are_not_read_cost_next_to_nothing() -> None:
    author = b"<Author><LastName>L</LastName></Author>"

    def file(authors: int) -> bytes:
        names = b'<AuthorList CompleteYN="Y">%b</AuthorList>' % (author * authors)
        citation = b"<PMID>1</PMID><Article>%b</Article>" % names
        record = b"<PubmedArticle><MedlineCitation>%b</MedlineCitation></PubmedArticle>" % citation
        return b"<PubmedArticleSet>%b</PubmedArticleSet>" % record

    assert calls(lambda: read(file(1000))) == calls(lambda: read(file(1)))


class Counted(io.BytesIO):
    """A stream that counts what is read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


@pytest.mark.parametrize("name", ["a.xml", "a.xml.gz"])
def test_every_byte_is_read_once(name: str) -> None:
    data = SAMPLE.read_bytes()
    stream = Counted(gzip.compress(data) if name.endswith(".gz") else data)
    size = len(stream.getbuffer())
    assert sum(1 for _ in documents(stream, name, pubmed.FORMAT, "a", 0, 1 << 40)) == 30
    assert stream.taken == size


def test_the_view_of_the_scanner_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    record = b"<PubmedArticle><MedlineCitation>%b</MedlineCitation></PubmedArticle>" % (b"x" * 9000)
    most = 0
    read_on = xml_scanner._Scanner._read_on

    def watched(self: xml_scanner._Scanner) -> None:
        nonlocal most
        read_on(self)
        most = max(most, len(self.data))

    monkeypatch.setattr(xml_scanner._Scanner, "_read_on", watched)
    data = b"<PubmedArticleSet>%b</PubmedArticleSet>" % (record * 1000)
    assert sum(1 for _ in pubmed.scan(io.BytesIO(data))) == 1000
    assert most <= xml_scanner._CHUNK + xml_scanner._AHEAD + len(record)


def test_a_text_is_folded_once_for_all_its_surfaces() -> None:
    text = "Some words of a text. " * 200
    surfaces = ["WORDS", "OF A", "TEXT", "ABSENT"] * 25

    def find(number: int) -> None:
        locator = Locator(Running([(0, text)]), "en", fold=True)
        for surface in surfaces[:number]:
            locator.find(surface.replace("WORDS", "ABSENT"))

    find(4)
    few, many = calls(lambda: find(50)), calls(lambda: find(100))
    assert many < 2.1 * few
