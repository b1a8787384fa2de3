"""Which form of question finds mentions best, and at which rate: measured on gold.

Every form is asked of the embedded model and of a copy fine-tuned on all forms (`tune.py`), on the
same documents, in turn corpus by corpus, with an empty prefix cache at each turn.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import llguidance
import llguidance.hf
import xgrammar
from transformers import AutoConfig, PreTrainedTokenizerBase

from benchmarks.automaton import mentions_ebnf
from benchmarks.bare import VLLM
from benchmarks.gold import TYPES, Form, held_out
from benchmarks.measure import Row, say, write
from benchmarks.tune import TUNED, tune
from taiyi_ray import models
from taiyi_ray.engine.engine import REPETITION_DETECTION, Completion
from taiyi_ray.engine.vllm import VllmEngine
from taiyi_ray.grounding import MOST
from taiyi_ray.merging import merge
from taiyi_ray.metrics import Quality
from taiyi_ray.records import Document
from taiyi_ray.tasks import lines, ner
from taiyi_ray.tasks.task import Counts, Question
from tests.samples import Gold

CONTEXT = 2048
MAX_TOKENS = 192
DOCUMENTS = {
    "fine-tuned": {"BC5CDR": 40, "NCBI disease": 40, "CMeEE": 60},
    "embedded": {"BC5CDR": 16, "NCBI disease": 16, "CMeEE": 20},
}
"""Of each corpus; fewer for the model whose answers mostly run to their limit."""

NO_LOOPS_ENDED = dict.fromkeys(REPETITION_DETECTION, 0)


def _unbounded(question: Question) -> Question:
    assert question.grammar
    bounded = f"{{0,{MOST - 1}}}"
    assert bounded in question.grammar
    return replace(question, grammar=question.grammar.replace(bounded, "*"))


def _ebnf(question: Question) -> Question:
    language = question.language
    end = "\n" if language == "zh" and len(question.types) > 1 else ""
    heads = ner.heads(question.types, language)
    none = lines.NONE[language]
    return replace(question, grammar=mentions_ebnf(heads, end, none, question.window.running.text))


def _free(question: Question) -> Question:
    return replace(question, grammar=None)


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to ask: the form, what becomes of the grammar, how answers are decoded."""

    name: str
    form: Form = Form()  # noqa: RUF009 -- frozen
    change: Callable[[Question], Question] = lambda question: question
    repetition: dict[str, int] = field(default_factory=lambda: REPETITION_DETECTION)
    backend: str = "guidance"
    scores: bool = False


VARIANTS = (
    Variant("all types, instruction first"),
    Variant("all types, document first", Form(document_first=True)),
    Variant("each type, instruction first", Form(together=False)),
    Variant("each type, document first", Form(together=False, document_first=True)),
    Variant("no order asked for", Form(text_order=False)),
    Variant("lists without bound", change=_unbounded),
    Variant("loops not ended", repetition=NO_LOOPS_ENDED),
    Variant("neither bound nor end", change=_unbounded, repetition=NO_LOOPS_ENDED),
    Variant("EBNF (xgrammar)", change=_ebnf, backend="xgrammar"),
    Variant("free, aligned", change=_free),
    Variant("with scores", scores=True),
)
"""The first is the plain one; those below the fourth differ from it in what their name says."""


@dataclass(slots=True)
class Tally:
    """What a variant came to on one corpus."""

    counts: Counts = Counts(0, 0, 0)  # noqa: RUF009 -- frozen
    documents: int = 0
    questions: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cut: int = 0
    seconds: float = 0.0
    scored: list[tuple[float, bool]] = field(default_factory=list)
    """Score of each mention, and whether it is right."""

    def __add__(self, other: Tally) -> Tally:
        ours, theirs = self.counts, other.counts
        added = (ours.tp + theirs.tp, ours.fp + theirs.fp, ours.fn + theirs.fn)
        names = [name for name in self.__slots__ if name != "counts"]  # type: ignore[attr-defined]
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return Tally(counts=Counts(*added), **sums)


class Engines:
    """One model in an engine a grammar backend; they take turns, one works at a time."""

    def __init__(self, path: str) -> None:
        self.of = {
            backend: VllmEngine(
                path,
                chat="template",
                context_length=CONTEXT,
                trust_remote_code=False,
                scores=False,
                arguments={"structured_outputs_config": {"backend": backend}},
            )
            for backend in ("guidance", "xgrammar")
        }

    def close(self) -> None:
        for engine in self.of.values():
            engine.close()


async def measured(engine: VllmEngine, variant: Variant, corpus: str, batch: list[Gold]) -> Tally:
    """Ask about a batch of documents, all at once, with an empty prefix cache."""
    await engine.client.reset_prefix_cache()
    engine._scores = variant.scores
    tally = Tally(documents=len(batch))
    began = time.perf_counter()
    with patch("taiyi_ray.engine.vllm.REPETITION_DETECTION", variant.repetition):
        found = await asyncio.gather(
            *(_document(engine, variant, TYPES[corpus], document, tally) for document, _ in batch)
        )
    tally.seconds = time.perf_counter() - began
    for (_, gold), predicted in zip(batch, found, strict=True):
        tally += Tally(counts=ner.score(predicted, gold))
        true = {(m.type, m.start, m.end) for m in gold.mentions}
        tally.scored += [
            (mention.score, (mention.type, mention.start, mention.end) in true)
            for mention in predicted.mentions
            if mention.score is not None
        ]
    return tally


async def _document(
    engine: VllmEngine, variant: Variant, types: Any, document: Document, tally: Tally
) -> Any:
    asked = [variant.change(q) for q in variant.form.questions(document, types, grammar=True)]

    async def ask(question: Question) -> Completion:
        return await engine.complete(question, engine.prompt(question), MAX_TOKENS)

    completions = await asyncio.gather(*map(ask, asked))
    parts = []
    for question, completion in zip(asked, completions, strict=True):
        cut = completion.finish_reason != "stop"
        tally.questions += 1
        tally.cut += cut
        tally.output_tokens += completion.output_tokens
        tally.prompt_tokens += completion.prompt_tokens
        tally.cached_tokens += completion.cached_tokens
        scores = completion.scores
        parsed = ner.parse(completion.text, question, document, cut=cut, scores=scores)
        parts.append(parsed.annotations)
    return merge(parts)


def ranking(scored: list[tuple[float, bool]]) -> float | None:
    """Chance that a right mention has a higher score than a wrong one (area under the ROC)."""
    right = [score for score, is_right in scored if is_right]
    wrong = [score for score, is_right in scored if not is_right]
    if not right or not wrong:
        return None
    better = sum((r > w) + (r == w) / 2 for r in right for w in wrong)
    return better / (len(right) * len(wrong))


def compile_ms(tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> dict[str, float]:
    """Median milliseconds to compile the grammar of a question on all types of BC5CDR."""
    llg = llguidance.hf.from_tokenizer(tokenizer)
    compiler = xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary),
        cache_enabled=False,
    )
    compilers: dict[str, Callable[[str], object]] = {
        "guidance": lambda text: llguidance.LLMatcher(llg, llguidance.grammar_from("lark", text)),
        "xgrammar": compiler.compile_grammar,
    }
    changes = {"guidance": lambda question: question, "xgrammar": _ebnf}
    took: dict[str, list[float]] = {name: [] for name in compilers}
    for document, _ in held_out("BC5CDR", 40):
        (question,) = Form().questions(document, TYPES["BC5CDR"], grammar=True)
        for name, compile_ in compilers.items():
            text = changes[name](question).grammar
            assert text
            began = time.perf_counter()
            compile_(text)
            took[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(times) for name, times in took.items()}


def run(model: str, path: str, sizes: dict[str, int]) -> list[Row]:
    """The rows of one model: every variant on every corpus, batch by batch in turn."""
    tallies = {(v.name, corpus): Tally() for v in VARIANTS for corpus in sizes}
    with asyncio.Runner() as runner:

        async def start() -> Engines:
            return Engines(path)

        engines = runner.run(start())
        for variant in VARIANTS:  # the first answer with scores compiles a kernel for half a minute
            engine = engines.of[variant.backend]
            runner.run(measured(engine, variant, "BC5CDR", held_out("BC5CDR", 1)))
        for turn, (corpus, size) in enumerate(sizes.items()):
            found = held_out(corpus, size)
            for variant in VARIANTS[4 * turn :] + VARIANTS[: 4 * turn]:
                work = measured(engines.of[variant.backend], variant, corpus, found)
                tallies[variant.name, corpus] = runner.run(work)
                f = Quality.of(tallies[variant.name, corpus].counts).f1
                say(f"{model}, {corpus}, {variant.name}: F1 {f:.1f}")
        engines.close()
    tokenizer = models.load_tokenizer(models.resolve(path))
    compile_ = compile_ms(tokenizer, AutoConfig.from_pretrained(path).vocab_size)
    return [_row(model, variant, tallies, compile_) for variant in VARIANTS]


def _row(
    model: str,
    variant: Variant,
    tallies: dict[tuple[str, str], Tally],
    compile_: dict[str, float],
) -> Row:
    of_corpus = {c: t for (name, c), t in tallies.items() if name == variant.name}
    total = sum(of_corpus.values(), Tally())
    precision, recall, f = Quality.of(total.counts)
    return {
        "model": model,
        "form": variant.name,
        **{f"F1 {corpus}": round(Quality.of(t.counts).f1, 1) for corpus, t in of_corpus.items()},
        "P": round(precision, 1),
        "R": round(recall, 1),
        "F1": round(f, 1),
        "output tokens/document": round(total.output_tokens / total.documents, 1),
        "cut or looping %": round(100 * total.cut / total.questions, 1),
        "cached %": round(100 * total.cached_tokens / total.prompt_tokens, 1),
        "documents/s": round(total.documents / total.seconds, 2),
        "score ranks right": ranking(total.scored),
        "compile ms": None if variant.change is _free else round(compile_[variant.backend], 1),
    }


def main() -> None:
    """Measure both models and write the result; the fine-tuned one is made first where needed."""
    if not TUNED.is_dir():
        tune(TUNED)
    rows = run("fine-tuned", str(TUNED), DOCUMENTS["fine-tuned"])
    rows += run("embedded", str(models.resolve().path), DOCUMENTS["embedded"])
    packages = (VLLM, "torch", "llguidance", "xgrammar")
    settings = {"documents": DOCUMENTS, "max_tokens": MAX_TOKENS}
    write("forms", rows, packages=packages, settings=settings)


if __name__ == "__main__":
    main()
