"""How much work the host does, in counts that no busy machine can change."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import jinja2
import pytest

from taiyi_ray import grounding, models
from taiyi_ray.annotation import Annotator
from taiyi_ray.corpus import sources
from taiyi_ray.engine.engine import Completion, Prompt, of_tokens
from taiyi_ray.engine.fake import FakeEngine
from taiyi_ray.formats import documents, format_of, pubmed
from taiyi_ray.formats import gold as gold_module
from taiyi_ray.formats.format import RawRecord
from taiyi_ray.formats.gold import Gold
from taiyi_ray.grounding import Locator
from taiyi_ray.job import workers
from taiyi_ray.records import Document, Span, passages
from taiyi_ray.tasks import task as task_module
from taiyi_ray.tasks.task import Assignment, Question
from taiyi_ray.tasks.template import PLAIN_FORM, SHORT_FORM
from tests.job.jobs import annotate, corpus
from tests.job.test_workers import planned
from tests.samples import asked, every

# As with any two questions.
ASSIGNMENTS = [asked(task, document_first=True) for task in ("ner", "re")]


def sample(tmp_path, number: int) -> list[Document]:
    path = corpus(tmp_path / f"{number}.jsonl", number, words=120)
    format_ = format_of(path.name)
    assert format_ is not None
    with path.open("rb") as stream:
        return list(documents(stream, path.name, format_, "sample", 0, number - 1))


class Noting(FakeEngine):
    """Notes what it renders and what it is asked."""

    def __init__(self, context_length: int = 8192) -> None:
        super().__init__(context_length)
        self.prompts: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[tuple[str, str]] = Counter()
        self.answers: list[str] = []
        self.tokens = 0

    def prompt(self, question: Question) -> Prompt:
        self.prompts[question.task, question.window.text] += 1
        return super().prompt(question)

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        self.sent[question.task, question.window.text] += 1
        self.tokens += prompt.tokens
        completion = await super().complete(question, prompt, max_tokens)
        self.answers.append(completion.text)
        return completion


async def through_annotator(engine: FakeEngine, found: list[Document]) -> None:
    annotator = Annotator(engine, ASSIGNMENTS, 512)
    await asyncio.gather(*map(annotator.annotate, found))


async def bare(engine: FakeEngine, found: list[Document]) -> None:
    """The same questions and answers, and nothing else."""
    asked = [q for d in found for a in ASSIGNMENTS for q in a.questions(d)]
    await asyncio.gather(*(engine.complete(q, engine.prompt(q), 512) for q in asked))


def calls(work: Callable[[], object]) -> int:
    """How many Python functions `work` calls."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def counting(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Callable[[], int]:
    """Count the calls of a method; ask the result how many there were."""
    seen = 0
    function = getattr(owner, name)

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal seen
        seen += 1
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, counted)
    return lambda: seen


def test_each_question_is_rendered_tokenised_and_sent_once(tmp_path, monkeypatch):
    found = sample(tmp_path, 12)
    rendered = counting(monkeypatch, jinja2.Template, "render")
    engine = Noting()
    asyncio.run(through_annotator(engine, found))
    assert set(engine.prompts.values()) == set(engine.sent.values()) == {1}
    assert set(engine.prompts) == set(engine.sent)
    assert rendered() == len(engine.sent) == len(found) * len(ASSIGNMENTS)


def test_each_answer_takes_one_locator_and_each_surface_one_search(tmp_path, monkeypatch):
    found = sample(tmp_path, 12)
    made = counting(monkeypatch, Locator, "__init__")
    searches = counting(monkeypatch, Locator, "find")
    engine = Noting()
    asyncio.run(through_annotator(engine, found))
    assert made() == len(engine.answers)
    signs = str.maketrans(dict.fromkeys("[]:：\n,", ";"))
    parts = [answer.translate(signs).split(";") for answer in engine.answers]
    assert 0 < searches() <= sum(len({p.strip() for p in part}) for part in parts)


def test_each_record_is_parsed_once(tmp_path, monkeypatch):
    path = corpus(tmp_path / "a.jsonl", 12)
    format_ = format_of(path.name)
    assert format_ is not None
    parsed = []

    def parse(record):
        parsed.append(record)
        return format_.parse(record)

    monkeypatch.setattr(sources, "named", lambda name: replace(format_, parse=parse))
    units = {"units": [planned(path, 0, 4), planned(path, 5, 11)]}
    assert [read["error"] for read in workers.read_units(units, sources.SOURCE_KINDS)] == ["", ""]
    assert len(parsed) == 12


def python_calls(run: Callable[..., Any], found: list[Document]) -> int:
    return calls(lambda: asyncio.run(run(FakeEngine(8192), found)))


def test_work_grows_with_the_documents_and_no_faster(tmp_path):
    few, many = sample(tmp_path, 20), sample(tmp_path, 80)
    python_calls(through_annotator, few)  # fills caches
    assert python_calls(through_annotator, many) < 4.2 * python_calls(through_annotator, few)


def test_annotating_takes_at_most_two_and_a_half_times_the_calls_of_a_bare_loop(tmp_path):
    found = sample(tmp_path, 40)
    python_calls(through_annotator, found)  # fills caches
    assert python_calls(through_annotator, found) < 2.5 * python_calls(bare, found)


# ------------------------------------------------------------------------- long documents

SENTENCE = "Aspirin reduced the pain of some patients with severe\nheadache and Sjögren’s. "


def long(sentences: int, passages_: int = 1) -> Document:
    text = SENTENCE * (sentences // passages_)
    return Document("d", passages(("text", "en", text) for _ in range(passages_)))


def characters(monkeypatch: pytest.MonkeyPatch, *places: tuple[Any, str, int | str]) -> Any:
    """Count the characters given to functions: (owner, name, number or name of the argument)."""
    seen = Counter[str]()

    def watch(owner: Any, name: str, number: int | str) -> None:
        function = getattr(owner, name)

        def counted(*given: Any, **named: Any) -> Any:
            text = named[number] if isinstance(number, str) else given[number]
            seen[name] += len(getattr(text, "text", text))
            return function(*given, **named)

        monkeypatch.setattr(owner, name, counted)

    for place in places:
        watch(*place)
    return seen


@pytest.mark.parametrize("task", ["ner", "re", "ee"])
@pytest.mark.parametrize("grammar", [True, False])
@pytest.mark.parametrize("apart", [False, True], ids=["one passage", "many passages"])
def test_work_on_a_document_grows_with_its_length_and_no_faster(monkeypatch, task, grammar, apart):
    (assignment,) = every(task, grammar=grammar)
    texts = Document.text.fget
    joined: Counter[str] = Counter()

    def text_of(document: Document) -> str:
        text = texts(document)
        joined["text"] += len(text)
        return text

    monkeypatch.setattr(Document, "text", property(text_of))
    searched = characters(monkeypatch, (grounding, "_occurrences", 1))

    def work(sentences: int) -> list[int]:
        joined.clear()
        searched.clear()
        document = long(sentences, sentences if apart else 1)
        annotator = Annotator(FakeEngine(1024), [assignment], 256)
        found: list[Any] = []
        made = calls(lambda: found.append(asyncio.run(annotator.annotate(document))))
        assert found[0].status == "ok" and len(found[0].answers) > sentences / 50
        return [made, joined.total(), searched.total()]

    work(400)  # fills caches
    for once, twice in zip(work(400), work(800), strict=True):
        assert twice <= 2.3 * once


@pytest.mark.parametrize(
    "text",
    ["x", "word ", ".", '."', "。”", "\n", " ", "a\n", "No end, ", "One. ", "\u200b", "e\u0301"],
)
@pytest.mark.parametrize("limit", [64, 1000])
def test_each_character_is_looked_at_once_to_cut_a_text(monkeypatch, text, limit):
    looked_at = 0

    class Noted:
        def finditer(self, text: str, start: int, end: int) -> Any:
            nonlocal looked_at
            looked_at += end - start
            return pattern.finditer(text, start, end)

    pattern = task_module._SENTENCE_END
    monkeypatch.setattr(task_module, "_SENTENCE_END", Noted())
    whole = text * (20_000 // len(text))
    found = task_module.pieces(whole, Span(0, len(whole)), limit)
    assert all(0 < span.end - span.start <= limit for span in found)
    # What is behind the last sentence of a piece is looked at again, for the next one.
    assert looked_at <= 2.5 * len(whole)


def test_wrong_offsets_in_a_long_passage_are_counted_out_once(monkeypatch):
    counted = characters(monkeypatch, (gold_module, "_counts", 0))
    for mentions in (10, 1000):
        document = long(2000)
        gold = Gold(document, [0])
        for number in range(mentions):
            gold.mention(str(number), "x", "nowhere", [(number * 7, number * 7 + 7)], home=0)
        gold.settle()
        assert len(document.gold.mentions) == mentions
        assert counted.total() == 2 * len(document.text)  # as a passage, and as the whole text
        counted.clear()


def test_a_wrong_range_is_not_read_when_it_is_far_longer_than_its_text(monkeypatch):
    folded = characters(monkeypatch, (gold_module, "_folded", 0))
    document = long(2000)
    gold = Gold(document, [0])
    for number in range(100):
        gold.mention(str(number), "x", "nowhere", [(0, len(document.text) - number)], home=0)
    gold.settle()
    assert folded.total() < len(document.text)


def test_marked_words_of_a_title_are_looked_at_with_a_bounded_part_of_what_precedes(monkeypatch):
    seen = characters(monkeypatch, (pubmed, "_lost_blanks", 1))
    for words in (1000, 2000):
        marked = "".join(f"a<i>B{number}</i>" for number in range(words))
        record = f"<PubmedArticle><MedlineCitation><PMID>1</PMID><Article><ArticleTitle>{marked}" \
            "</ArticleTitle></Article></MedlineCitation></PubmedArticle>"  # fmt: skip
        document = pubmed.parse(RawRecord("PubmedArticle", record.encode()))
        assert document.text == "".join(f"aB{number}" for number in range(words))
        assert seen.total() <= 64 * words
        seen.clear()


def test_the_job_sends_what_a_bare_loop_sends(ray_cluster, monkeypatch, tmp_path):
    for name, value in ray_cluster.items():
        monkeypatch.setenv(name, value)
    engine, output = Noting(), tmp_path / "out"
    asyncio.run(bare(engine, sample(tmp_path, 60)))
    annotate(tmp_path / "60.jsonl", "-o", output, "--engine", "fake")
    run = json.loads((output / "run.json").read_text())
    assert run["prompt_tokens"] == engine.tokens
    assert run["totals"]["tokens"]["questions"] == engine.sent.total() == 60 * len(ASSIGNMENTS)


# --------------------------------------------------------------------------- tokens of questions


def computed(prompts: Sequence[Sequence[int]], block: int) -> int:
    """The prompt tokens that an engine computes: it has whole blocks that it saw before."""
    seen: set[tuple[int, ...]] = set()
    total = 0
    for prompt in prompts:
        blocks = [tuple(prompt[:end]) for end in range(block, len(prompt), block)]
        known = sum(1 for _ in takewhile(seen.__contains__, blocks))
        total += len(prompt) - known * block
        seen.update(blocks)
    return total


@pytest.fixture(scope="module")
def abstracts() -> list[Document]:
    path = Path(__file__).resolve().parents[1] / "examples" / "pubmed-sample.xml"
    format_ = format_of(path.name)
    assert format_ is not None
    with path.open("rb") as stream:
        found = list(documents(stream, path.name, format_, "sample", 0, 30))
    return [document for document in found if len(document.text) > 500][:12]


def forms_of_ner() -> dict[str, Assignment]:
    plain = asked("ner", ask="apart", document_first=True)
    again = asked("ner", ask="apart", document_first=True)  # options know what was chosen
    return {"plain": plain.in_form(PLAIN_FORM), "short": again.in_form(SHORT_FORM)}


def test_small_blocks_and_short_questions_leave_little_over_half_of_the_prompt_tokens_to_compute(
    tokenizer: Any, abstracts: list[Document]
) -> None:
    prompter = models.Prompter(tokenizer)
    counts = {
        (name, block): sum(
            computed([of_tokens(prompter, q).content for q in form.questions(document)], block)
            for document in abstracts
        )
        for name, form in forms_of_ner().items()
        for block in (128, 32)
    }
    whole = sum(
        of_tokens(prompter, q).tokens
        for document in abstracts
        for q in forms_of_ner()["plain"].questions(document)
    )
    assert counts["plain", 32] < 0.8 * counts["plain", 128] < counts["plain", 128] < whole
    assert counts["short", 32] < 0.55 * counts["plain", 128]


def test_an_engine_writes_no_token_of_a_head_that_the_prompt_holds(
    tokenizer: Any, abstracts: list[Document]
) -> None:
    engine = FakeEngine(8192)
    steps: Counter[str] = Counter()
    questions: Counter[str] = Counter()
    for name, form in forms_of_ner().items():
        for document in abstracts:
            for question in form.questions(document):
                prompt = engine.prompt(question)
                answer = asyncio.run(engine.complete(question, prompt, 512)).text
                written = answer.removeprefix(prompt.head)
                steps[name] += len(tokenizer.encode(written, add_special_tokens=False)) + 1
                questions[name] += bool(written.strip() != "none")
    assert questions["plain"] == questions["short"]
    # Each answer with mentions saves its head, of eight tokens and the name of the type.
    assert steps["plain"] - steps["short"] >= 9 * questions["plain"]


def test_the_questions_on_a_document_take_one_grammar_in_the_short_form(
    abstracts: list[Document],
) -> None:
    for document in abstracts:
        grammars = {
            name: len({question.grammar for question in form.questions(document)})
            for name, form in forms_of_ner().items()
        }
        assert grammars == {"plain": 9, "short": 1}
