"""Estimates what a corpus will cost: documents, tokens, engine-hours and price, before a run.

A seeded sample of sources is scanned, and the prompts about a sample of their records are made as
the job makes them (real formats, tasks, templates and tokenizer; no engine). A sample cannot tell
output tokens and rates: these come from earlier runs (`--run`), or from the assumptions below, and
the estimate says that assumptions are no measurements.

The range of every figure is the middle 95 % of 1,000 draws (bootstrap). Each draw chooses sources
and their records again, with replacement. It also draws the output tokens of a task from the mean
of the given runs with its standard error, and the rate from one of these runs. What is assumed is
drawn from the whole range of the assumption, evenly on a log scale.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, BinaryIO, cast

from rich.table import Table

from taiyi_ray import models, storage
from taiyi_ray.annotation import Annotator
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.corpus import reuse, sources
from taiyi_ray.corpus.sources import SourceFile
from taiyi_ray.engine import ENGINES
from taiyi_ray.engine.engine import Completion, Prompt, of_tokens
from taiyi_ray.engine.prepare import Prepared, prepare
from taiyi_ray.errors import ConfigError, nearest
from taiyi_ray.formats import document_of, raw_records, read_beside, recognised
from taiyi_ray.formats.format import Format, RawRecord
from taiyi_ray.job.asks import Asks
from taiyi_ray.placement import GPUS, Assumed, of_model
from taiyi_ray.records import Document
from taiyi_ray.tasks import assigned
from taiyi_ray.tasks.ner import TASK as NER
from taiyi_ray.tasks.task import Assignment, Question

SAMPLE = 240
"""Documents that are parsed, and for which prompts are made."""

_SOURCES = 12
"""Files that are scanned at most."""

_BYTES = 64 << 20
"""Bytes of a file that are scanned at most."""
_DRAWS = 1000
_BLOCK = 16
"""Tokens of a block of vLLM's prefix cache: prompts share whole blocks only."""


PREFILL = Assumed(0.4, 0.2, 0.6)
"""Share of a GPU's FLOP/s that an engine uses while it reads prompts, at 2 FLOP for each weight and
token. An assumption, not measured here: published figures for long prompts in large batches lie in
this range."""

DECODE = Assumed(0.3, 0.1, 0.6)
"""Share of a GPU's bandwidth that an engine uses while it writes answers, if each step reads all
weights once and writes a token for each of BATCH answers. An assumption, not measured here: with
grammars, short answers and small models the share is lower, because the host's work counts more."""

HOST = Assumed(0.004, 0.002, 0.008)
"""Seconds that one question takes of the one Python process in front of an engine, which makes the
prompts and reads the answers while the GPU computes. `make bench-host` measures it, with vLLM's
part; processors differ. The slower of both bounds an engine: this process where a small model runs
on a large GPU."""

BATCH = 64
"""Answers that an engine writes at once: the default of max_num_seqs here."""

ANSWER = Assumed(30, 10, 90)
"""Output tokens of a question. An assumption: an answer about one type is a line of a few names.
Models that loop, or that are asked about all types at once, write more."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure of the estimate.

    Attributes:
        value: the figure.
        low, high: the middle 95 % of the draws.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the annotation of a corpus will take.

    Attributes:
        files, bytes: number and size of the input's files.
        scanned: how many of these files were scanned.
        sampled: number of documents that were parsed, and for which prompts were made.
        totals: documents, questions, prompt_tokens, cached_tokens (which are among the prompt's)
            and output_tokens; engine_hours if a rate is known, and cost if a price is known too;
            with `--reuse` reused_documents, about which nothing is asked.
        basis: where each figure comes from, one sentence each.
    """

    files: int
    bytes: int
    scanned: int
    sampled: int
    totals: dict[str, Quantity]
    basis: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


# -------------------------------------------------------------------------------------- the sample


@dataclass(slots=True)
class _Prompts:
    """The prompts of one task.

    Attributes:
        questions: number of prompts.
        prompt: tokens of all prompts.
        cached: how many of these the prefix cache would hold.
    """

    questions: float = 0
    prompt: float = 0
    cached: float = 0

    def add(self, other: _Prompts, times: float = 1) -> None:
        """Add other prompts, so many times."""
        self.questions += times * other.questions
        self.prompt += times * other.prompt
        self.cached += times * other.cached


@dataclass(slots=True)
class _Asked:
    """What an engine would be asked about one document of the sample.

    Attributes:
        reused: whether nothing is asked, because it was answered earlier (`--reuse`).
        prompts: the prompts of each task.
    """

    reused: bool = False
    prompts: dict[str, _Prompts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _SampledSource:
    """A source that was scanned.

    Attributes:
        records: number of records in the part that was scanned.
        bytes: size of that part.
        asked: the questions about a sample of these records.
    """

    records: int
    bytes: int
    asked: list[_Asked]


_Records = list[tuple[Format, RawRecord]]
"""Records, each with the format of its source."""


class _Counter:
    """Replaces an engine where only prompts are made: it has the tokenizer, and no weights."""

    question_slots = 1

    def __init__(self, prepared: Prepared[AnnotateConfig]) -> None:
        assert prepared.tokenizer is not None
        self._prompter = models.Prompter(prepared.tokenizer, prepared.config.chat)
        self.context_length = prepared.context_length

    def prompt(self, question: Question) -> Prompt:
        return of_tokens(self._prompter, question)

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        raise NotImplementedError("nothing is asked for an estimate")

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class _Beginning:
    """The first `most` bytes of a stream, as if it ended there."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream, self._left = stream, most

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _scan(file: SourceFile, most: int, random_: random.Random) -> tuple[int, int, _Records]:
    """Scan a source, or only the beginning of a large one.

    The last record of a beginning is cut off by its end, and does not count.

    Returns:
        The number of records, the size in bytes of the part that was scanned, and a sample of at
        most `most` records.
    """
    if file.stored.size > _BYTES:
        records, drawn = _sample(file, most, random_, _BYTES)
        if records > most:  # else the format is one that cannot be read from a beginning alone
            return records, _BYTES, drawn
    records, drawn = _sample(file, most, random_, None)
    return records, file.stored.size, drawn


def _sample(
    file: SourceFile, most: int, random_: random.Random, first_bytes: int | None
) -> tuple[int, _Records]:
    """Return the number of records, and an even sample of them (reservoir sampling, algorithm R).

    With `first_bytes` only the beginning of the file is read.
    """
    drawn: list[RawRecord] = []
    number = 0
    with storage.open_read(file.stored.path) as whole:
        format_ = recognised(file.stored.path, whole)
        assert format_ is not None
        stream = whole if first_bytes is None else cast(BinaryIO, _Beginning(whole, first_bytes))
        records = raw_records(stream, file.stored.path, format_, read_beside)
        if first_bytes is not None:
            records = (one for one, _ in pairwise(records))  # all but the last one
        for record in records:
            number += 1
            if len(drawn) < most:
                drawn.append(record)
            elif (at := random_.randrange(number)) < most:
                drawn[at] = record
    return number, [(format_, record) for record in drawn]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two prompts share at their beginning, in whole cache blocks."""
    both = min(len(one), len(other))
    same = next((n for n in range(both) if one[n] != other[n]), both)
    return same // _BLOCK * _BLOCK


def _ask(annotator: Annotator, document: Document, before: list[Any]) -> _Asked:
    """Make the prompts about a document, and count their tokens and questions.

    `before` holds the last prompt about the document before this one, for what both share in the
    cache; afterwards it holds the last prompt about this document.
    """
    asked = _Asked()
    if document.status != "ok":
        return asked
    known = list(before)
    for task, _, prompt in annotator.questions(document).prompted:
        cached = max((_common(prompt.content, other) for other in known), default=0)
        asked.prompts.setdefault(task.name, _Prompts()).add(_Prompts(1, prompt.tokens, cached))
        known.append(prompt.content)
    before[:] = known[-1:]
    return asked


_Reusable = Callable[[Document], bool]
"""Tells whether what would be asked about a document was answered earlier."""


def _reusable(config: AnnotateConfig, assignments: Sequence[Assignment]) -> _Reusable | None:
    """Return what tells which documents `--reuse` covers; None without that option.

    Raises:
        ConfigError: answers of that lake or output cannot be copied.
    """
    if config.reuse is None:
        return None
    prepared = prepare(config, known=True)
    asks = Asks(prepared.config, prepared.answering, assignments, ())
    asks.check_reusable()
    address, fingerprint = storage.absolute(config.reuse), asks.of_run.identity.fingerprint
    if fingerprint not in reuse.fingerprints(address):
        return lambda _: False
    return partial(reuse.Answered(address, [fingerprint]).has, fingerprint)


# ------------------------------------------------------------------------------- what runs measured


@dataclass(frozen=True, slots=True)
class _Measured:
    """What run.json files tell.

    Attributes:
        answers: for each task the mean of its answers' tokens, and the standard error of that mean.
        questions: for each task how many were asked.
        rates: for each run the engine-seconds that a token of prompt or answer took, if it ran on
            the GPUs that the plan is for.
    """

    answers: dict[str, tuple[float, float]]
    questions: dict[str, int]
    rates: list[float]


def _measured(paths: Sequence[str], gpu: str | None) -> _Measured:
    """Read run.json files.

    A run on a laptop tells how long answers are, but not how fast a GPU writes them: where the plan
    names a kind of GPU, the rates of runs that were on no such GPU do not count.

    Raises:
        ConfigError: a file is not the run.json of a run that annotated something.
    """
    counts: dict[str, list[int]] = {}
    rates = []
    for path in paths:
        address = storage.absolute(path)
        if storage.is_folder(address):  # OUT itself
            address = storage.join(address, "run.json")
        data = storage.read(address)
        try:
            run = json.loads(data or b"")
            for task, number in run["totals"]["questions"].items():
                sums = [
                    run["totals"]["answers"][f"{task}.{what}"] for what in ("tokens", "squares")
                ]
                for at, count in enumerate((number, *sums)):
                    counts.setdefault(task, [0, 0, 0])[at] += count
            if gpu in (None, run["config"]["gpu"]):
                tokens = run["prompt_tokens"] + run["output_tokens"]
                rates.append(run["engine_seconds"] / tokens)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ConfigError(
                f"--run {path}: is not the record of a run that annotated documents; name an "
                "OUT/run.json"
            ) from error
    answers = {}
    for task, (number, tokens, squares) in counts.items():
        if number:
            mean = tokens / number
            spread = max(0.0, squares / number - mean**2)
            answers[task] = (mean, math.sqrt(spread / number))
    return _Measured(answers, {task: number for task, (number, _, _) in counts.items()}, rates)


# ------------------------------------------------------------------------------------ the estimate


def estimate(config: AnnotateConfig, *, runs: Sequence[str] = (), seed: int = 7) -> Estimate:
    """Estimate what the annotation of a corpus will take.

    Args:
        config: the settings of the planned run; `output` is not used. Without `runs` the rate is
            assumed for its `gpu`.
        runs: run.json files (or outputs) of similar runs: the same tasks and model. Their rates
            count if they ran on the same kind of GPU as this one will.
        seed: of all random choices.

    Raises:
        ConfigError: an input, a GPU or a run cannot be used.
        ModelError, StorageError: as for the job itself.
    """
    if config.gpu is not None and config.gpu not in GPUS:
        raise ConfigError(
            f"--gpu {config.gpu}: unknown{nearest(config.gpu, GPUS)}; known: {', '.join(GPUS)}"
        )
    random_ = random.Random(seed)
    measured = _measured(runs, config.gpu)
    assignments, _ = assigned(config)
    config = config.model_copy(update={"tasks": [a.task.name for a in assignments]})
    corpus = sources.find(config.inputs).files
    prepared = prepare(config, kind=ENGINES["vllm"])
    model = prepared.answering.model
    assert model is not None
    assignments = [assignment.in_form(prepared.form) for assignment in assignments]
    annotator = Annotator(_Counter(prepared), assignments, config.max_tokens)
    reusable = _reusable(config, assignments)
    chosen = sorted(random_.sample(range(len(corpus)), min(_SOURCES, len(corpus))))
    columns = {str(key): name for key, name in config.columns.items()}
    scanned = []
    before: list[Any] = []
    for number in chosen:
        file = corpus[number]
        records, size, drawn = _scan(file, -(-SAMPLE // len(chosen)), random_)
        documents = [
            document_of(record, format_, file.stored.path, columns) for format_, record in drawn
        ]
        scanned.append(
            _SampledSource(
                records,
                size,
                [
                    _Asked(reused=True)
                    if reusable and reusable(document)
                    else _ask(annotator, document, before)
                    for document in documents
                ],
            )
        )
    sampled = sum(len(source.asked) for source in scanned)
    if not sampled:
        raise ConfigError(f"{', '.join(config.inputs)}: holds no records")
    total = sum(file.stored.size for file in corpus)
    whole = sum(source.bytes for source in scanned) == total
    seconds = _seconds(model, config, measured)
    asks_ner = any(a.task.name == NER.name for a in assignments)
    following = [a.task.name for a in assignments if a.follows and asks_ner]
    draw = _Estimator(scanned, total, whole, config, measured, following, seconds)
    value = draw.totals(None)
    draws = [draw.totals(random_) for _ in range(_DRAWS)]
    return Estimate(
        files=len(corpus),
        bytes=total,
        scanned=len(scanned),
        sampled=sampled,
        totals={name: _quantity(value[name], [one[name] for one in draws]) for name in value},
        basis=list(_basis(config, runs, measured, following, scanned, len(corpus), whole, seconds)),
    )


_Seconds = Callable[[_Prompts, float, random.Random | None], float]
"""Turns prompts and output tokens into engine-seconds; the last argument makes a draw."""


def _seconds(model: models.Model, config: AnnotateConfig, measured: _Measured) -> _Seconds | None:
    """Return how to compute engine-seconds: by the runs' rates, or else by a GPU's data sheet.

    None if neither runs nor a GPU are given.
    """
    rates = measured.rates
    if rates:
        mean = sum(rates) / len(rates)

        def as_measured(asked: _Prompts, output: float, random_: random.Random | None) -> float:
            return (asked.prompt + output) * (random_.choice(rates) if random_ else mean)

        return as_measured
    if config.gpu is None:
        return None
    weights, sheet, gpus = models.weights_size(model), GPUS[config.gpu], of_model(config).gpus

    def as_assumed(asked: _Prompts, output: float, random_: random.Random | None) -> float:
        prefill, decode, host = (
            one.draw(random_) if random_ else one.value for one in (PREFILL, DECODE, HOST)
        )
        parameters = weights / 2  # 16 bit
        reading = (asked.prompt - asked.cached) * 2 * parameters / (sheet.flops * prefill)
        writing = output * weights / BATCH / (sheet.bandwidth * decode)
        return max((reading + writing) / gpus, asked.questions * host)

    return as_assumed


@dataclass(frozen=True, slots=True)
class _Estimator:
    """All that an estimate is computed from: its values once, and its ranges by many draws.

    Attributes:
        scanned: the sources of the sample.
        total: bytes of the whole corpus.
        whole: whether the whole corpus was scanned.
        config: the settings of the planned run.
        measured: what runs tell.
        following: the tasks that ask about what `ner` finds.
        seconds: computes engine-seconds; None if no rate is known.
    """

    scanned: list[_SampledSource]
    total: int
    whole: bool
    config: AnnotateConfig
    measured: _Measured
    following: Sequence[str]
    seconds: _Seconds | None

    def totals(self, random_: random.Random | None) -> dict[str, float]:
        """Return the figures, or, with a source of randomness, those of one draw."""
        chosen = self.scanned
        if random_ and not self.whole:  # if all files were scanned, they are no sample
            chosen = random_.choices(self.scanned, k=len(self.scanned))
        scale = self.total / sum(source.bytes for source in chosen)
        documents = scale * sum(source.records for source in chosen)
        reused = 0.0
        prompts: dict[str, _Prompts] = {}
        for source in chosen:
            if not source.asked:
                continue
            asked = source.asked
            if random_ and len(asked) < source.records:  # all records of a source are no sample
                asked = random_.choices(asked, k=len(asked))
            each = scale * source.records / len(asked)
            reused += each * sum(one.reused for one in asked)
            for one in asked:
                for task, of_task in one.prompts.items():
                    prompts.setdefault(task, _Prompts()).add(of_task, each)
        share = 1.0
        if self.config.limit and documents > self.config.limit:
            share = self.config.limit / documents
            documents, reused = documents * share, reused * share
        questions = {task: share * self._asked(task, prompts) for task in prompts}
        total = _Prompts()
        for task, of_task in prompts.items():
            total.add(of_task, questions[task] / of_task.questions)
        # There is one draw for all tasks: the assumption is likely wrong for all in the same way.
        assumed = ANSWER.draw(random_) if random_ else ANSWER.value
        output = sum(
            number * self._answer(task, assumed, random_) for task, number in questions.items()
        )
        totals = {
            "documents": documents,
            **({"reused_documents": reused} if self.config.reuse else {}),
            "questions": total.questions,
            "prompt_tokens": total.prompt,
            "cached_tokens": total.cached,
            "output_tokens": output,
        }
        if self.seconds:
            totals["engine_hours"] = self.seconds(total, output, random_) / 3600
            if self.config.price is not None:
                totals["cost"] = totals["engine_hours"] * self.config.price
        return totals

    def _asked(self, task: str, prompts: dict[str, _Prompts]) -> float:
        """How many questions of a task are asked, where it could ask those of the sample.

        A task that follows `ner` asks only where that found something to ask about. Runs tell how
        many questions it asks for one of `ner`.
        """
        most = prompts[task].questions
        ran = self.measured.questions
        if task not in self.following or not ran.get(NER.name):
            return most
        of_ner = prompts[NER.name].questions if NER.name in prompts else 0.0
        return min(most, of_ner * ran.get(task, 0) / ran[NER.name])

    def _answer(self, task: str, assumed: float, random_: random.Random | None) -> float:
        if task not in self.measured.answers:
            return assumed
        mean, error = self.measured.answers[task]
        return max(0.0, random_.gauss(mean, error)) if random_ else mean


def _quantity(value: float, draws: list[float]) -> Quantity:
    draws.sort()
    return Quantity(value, draws[len(draws) * 25 // 1000], draws[len(draws) * 975 // 1000 - 1])


def _basis(
    config: AnnotateConfig,
    runs: Sequence[str],
    measured: _Measured,
    following: Sequence[str],
    scanned: Sequence[_SampledSource],
    files: int,
    whole: bool,
    seconds: _Seconds | None,
) -> Iterator[str]:
    if whole:
        yield f"documents: counted in all {files} files"
    else:
        yield (
            f"documents: {sum(s.records for s in scanned):,} counted in {len(scanned)} of {files} "
            "files, estimated for the others by their bytes"
        )
        if len(scanned) == 1:
            yield "documents: one file was scanned, so the range does not show how files differ"
    if config.reuse:
        yield f"reused documents: those of the sample whose text was answered in {config.reuse}"
    yield (
        f"prompt tokens: counted by the tokenizer of {config.model}; "
        "cached tokens: those at the beginnings that prompts share"
    )
    for task in following:
        yield f"questions of {task}: " + (
            f"as many for each of {NER.name} as in the run(s)"
            if measured.questions
            else f"at most so many; it asks where {NER.name} finds what it asks about; "
            "give --run OUT/run.json"
        )
    missing = [task for task in config.tasks or () if task not in measured.answers]
    if measured.answers:
        yield f"output tokens: the mean of each task in {len(runs)} run(s)"
    if missing:
        yield (
            f"output tokens of {', '.join(missing)}: ASSUMED {ANSWER.value:g} a question "
            f"({ANSWER.low:g} to {ANSWER.high:g}), not measured; give --run OUT/run.json"
        )
    if measured.rates:
        yield f"rate: tokens of prompts and answers a second in {len(measured.rates)} run(s)"
        if len(measured.rates) == 1:
            yield "rate: one run is given, so the range does not show how runs differ"
    elif config.gpu is not None:
        if runs:
            yield f"rate: no run was with --gpu {config.gpu}, so no run tells it"
        yield (
            f"rate: ASSUMED, not measured: {GPUS[config.gpu].source}; an engine has "
            f"{of_model(config).gpus:.3g} of these GPUs; {PREFILL.value:.0%} "
            f"({PREFILL.low:.0%} to {PREFILL.high:.0%}) of its FLOP/s for prompts, "
            f"{DECODE.value:.0%} ({DECODE.low:.0%} to {DECODE.high:.0%}) of its bandwidth for "
            f"answers, {BATCH} at once; at least {1000 * HOST.value:g} ms a question "
            f"({1000 * HOST.low:g} to {1000 * HOST.high:g}) for the process in front of the "
            "engine; give --run OUT/run.json"
        )
    if seconds is None:
        yield "engine-hours: not estimated; give --gpu, or --run OUT/run.json of a similar run"
    elif config.price is None:
        yield "cost: not estimated; give --price, the price of an hour of one engine"


# ------------------------------------------------------------------------------------ for a person


def table(estimated: Estimate) -> Table:
    """Return an estimate as a table: each figure, and the middle 95 % of the draws."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", style="bold")
    table.add_column("estimate", justify="right")
    table.add_column("95 % range", justify="right")
    for name, quantity in estimated.totals.items():
        shown = [_shown(x) for x in (quantity.value, quantity.low, quantity.high)]
        exact = shown[1] == shown[2]
        table.add_row(
            name.replace("_", " "), shown[0], "counted" if exact else f"{shown[1]} to {shown[2]}"
        )
    return table


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
