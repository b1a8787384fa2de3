"""Annotate documents: ask an engine the questions of the tasks and read its answers.

The module uses asyncio and not Ray. The corpus job, the endpoint, the evaluation and the Python API
all annotate through it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from taiyi_ray.engine.engine import Completion, Engine, Prompt
from taiyi_ray.errors import ConfigError, EngineDied, QuestionError, ServerGone
from taiyi_ray.merging import merge
from taiyi_ray.records import (
    NOT_APPLICABLE,
    SEPARATOR,
    Annotations,
    Answer,
    Document,
    Failure,
    Status,
    Text,
    as_values,
    document_row,
    passages,
    storable_text,
)
from taiyi_ray.tasks.answering import OWN_QUESTION
from taiyi_ray.tasks.ner import TASK as NER
from taiyi_ray.tasks.task import Assignment, Found, NotApplicable, Parsed, Question, Task
from taiyi_ray.tasks.vocabulary import LANGUAGES

_log = logging.getLogger(__name__)

SECOND_CHANCE = 2
"""An answer that met its token limit is asked for again once, with this many times the tokens."""

_SHARE, _LEAST_SHARE = 1 / 4, 16
"""One document may have this share of an engine's slots in use, but always at least `_LEAST_SHARE`:
the questions on a dozen types share the text of the document, so they should run together."""

_SMALLEST_WINDOW = 64
_LONGEST_TOKEN = 32
"""The first window that is tried has at most this many characters for each token that is available.
In usual text a token holds about four."""

_CUT = {"length": "cut_off", "repetition": "repetition"}

_INSTRUCTION = 1000
"""An estimate: characters of the instruction around a question that the document itself asks."""
_CHARACTERS_A_TOKEN = {"en": 3, "zh": 1}
"""The fewest characters that a token usually holds. `Annotator.size` estimates with it, because it
makes no prompts."""


@dataclass(slots=True)
class Annotated:
    """A document with its annotations and the answers from which they were read.

    Attributes:
        document: the document that was annotated.
        annotations: what the answers say, merged over all questions.
        answers: every answer, with those that were asked for again.
        status: `ok`; `partial` when some questions failed; `failed` when no question gave anything.
            A document that was read with another status keeps that one.
        errors: faults of the document and of its questions, and why tasks did not apply.
    """

    document: Document
    annotations: Annotations = field(default_factory=Annotations)
    answers: list[Answer] = field(default_factory=list)
    status: Status = "ok"
    errors: list[Failure] = field(default_factory=list)

    def row(self, *, unit: str, run_id: str, fingerprint: str) -> dict[str, Any]:
        """The row of OUT/annotations (records.SCHEMA).

        Args:
            unit: the unit of the output that holds the row.
            run_id: the run that made the row.
            fingerprint: the fingerprint of that run.
        """
        return {
            **document_row(self.document),
            **as_values(self.annotations),
            "answers": as_values(self.answers),
            "status": self.status,
            "errors": as_values(self.errors),
            "unit": unit,
            "run_id": run_id,
            "fingerprint": fingerprint,
            "content_hash": self.document.content_hash(),
            "answered_in": None,
        }


def failed(document: Document, kind: str, message: str) -> Annotated:
    """The result for a document that could not be annotated at all.

    Args:
        document: the document.
        kind: the kind of the failure (`records.Failure`).
        message: what a person reads about it.
    """
    failure = Failure(kind, document.document_id or f"record {document.position}", message)
    return Annotated(document, status="failed", errors=[*document.errors, failure])


def internal_error(document: Document, error: Exception) -> Annotated:
    """The `failed` result for a document on which our code raised; the log has the traceback."""
    where = document.source or "a request"
    _log.error("document %s of %s", document.position, where, exc_info=error)
    return failed(document, "internal_error", f"{type(error).__name__}: {error}")


async def guarded(annotator: Annotator, document: Document) -> Annotated:
    """Annotate one document; an error in our code gives a `failed` result, so that others go on.

    Raises:
        EngineDied, ServerGone, ConfigError: the engine fails, and not because of this document.
    """
    try:
        return await annotator.annotate(document)
    except (EngineDied, ServerGone, ConfigError):
        raise
    except Exception as error:
        return internal_error(document, error)


class PromptedQuestion(NamedTuple):
    """A question with its prompt.

    Attributes:
        task: the task that asks.
        question: the question.
        prompt: what the engine made of the question.
    """

    task: Task
    question: Question
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Questions:
    """What the tasks of a run ask about a document.

    Attributes:
        prompted: the questions of all tasks, with their prompts.
        not_applicable: why tasks have nothing to ask about the document.
        too_long: the tasks whose prompts are too long even around the smallest window.
    """

    prompted: list[PromptedQuestion]
    not_applicable: list[Failure]
    too_long: list[Failure]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result of one question.

    Attributes:
        question: the question.
        answers: the answer, and before it the one that was cut, if the question was asked twice.
        annotations: what the last answer says.
        failure: what went wrong, if anything did.
        usable: False when the question gave nothing at all.
    """

    question: Question
    answers: list[Answer]
    annotations: Annotations
    failure: Failure | None = None
    usable: bool = True


class Annotator:
    """Annotates documents concurrently; at most `engine.question_slots` at a time.

    Making prompts and reading answers can take long on a long text. Threads do this work, so that
    the event loop is not held up.

    Args:
        engine: answers the questions.
        assignments: the tasks as this run asks them.
        max_tokens: the tokens that an answer may have at the first attempt.
    """

    def __init__(self, engine: Engine, assignments: Sequence[Assignment], max_tokens: int) -> None:
        self._engine = engine
        self._assignments = assignments
        self._max_tokens = max_tokens
        asked = {t.name for a in assignments if a.task.name == NER.name for t in a.options.types}
        self._types = frozenset(asked)
        self._following = [one for one in assignments if asked and one.follows]
        self._first = [one for one in assignments if one not in self._following]
        self._slots = asyncio.Semaphore(engine.question_slots)
        self._tokens = engine.context_length - min(max_tokens, engine.context_length // 2)
        self._lengths: dict[tuple[int, str], list[int]] = {}
        self.in_flight: set[tuple[str, int]] = set()
        """Keys (source, position) of the documents that have questions at the engine now, or had
        them when the engine died."""

    def asking(self, assignments: Sequence[Assignment]) -> Annotator:
        """Return an annotator that asks these tasks, and shares the engine's slots with this one.

        `in_flight` is one set for both.
        """
        other = Annotator(self._engine, assignments, self._max_tokens)
        other._slots, other.in_flight = self._slots, self.in_flight
        return other

    async def annotate(self, document: Document) -> Annotated:
        """Annotate one document; the result records every fault of the document and its answers.

        Raises:
            EngineDied: the engine died while it worked on this document.
            ServerGone, ConfigError: the server of the engine answers no question any more.
        """
        if document.status != "ok":
            return Annotated(document, status=document.status, errors=document.errors)
        key = (document.source, document.position)
        async with self._slots:
            self.in_flight.add(key)
            try:
                annotated = await self._annotate(document)
            except EngineDied:
                raise  # the key stays in `in_flight`: the document may be what ended the engine
            except BaseException:
                self.in_flight.discard(key)
                raise
            self.in_flight.discard(key)
            return annotated

    async def _annotate(self, document: Document) -> Annotated:
        questions = await asyncio.to_thread(self.questions, document, self._first)
        outcomes = await self._ask_all(questions.prompted, document)
        if self._following:
            more = await asyncio.to_thread(self._questions_behind, document, outcomes)
            outcomes += await self._ask_all(more.prompted, document)
            questions = Questions(
                questions.prompted + more.prompted,
                questions.not_applicable + more.not_applicable,
                questions.too_long + more.too_long,
            )
        return await asyncio.to_thread(_joined, document, outcomes, questions)

    def questions(
        self, document: Document, assignments: Sequence[Assignment] | None = None
    ) -> Questions:
        """Make the questions on a document, with their prompts, in windows that fit the context.

        Args:
            document: the document.
            assignments: the tasks that ask; by default all. Of these, those that ask about what
                others find ask as if nothing were known of that, and so as much as they ever do.
        """
        questions = Questions([], [], [])
        for assignment in self._assignments if assignments is None else assignments:
            name = assignment.task.name
            try:
                questions.prompted.extend(self._fitting(assignment, document))
            except NotApplicable as reason:
                questions.not_applicable.append(Failure(NOT_APPLICABLE, name, str(reason)))
            except QuestionError as error:
                questions.too_long.append(Failure("too_long", name, str(error)))
        return questions

    def _questions_behind(self, document: Document, outcomes: Sequence[_Outcome]) -> Questions:
        """The questions of the tasks that ask about the mentions found by then."""
        mentions = merge([outcome.annotations for outcome in outcomes]).mentions
        found = Found(self._types, mentions)
        return self.questions(document, [replace(one, found=found) for one in self._following])

    async def _ask_all(
        self, prompted: Sequence[PromptedQuestion], document: Document
    ) -> list[_Outcome]:
        """Ask all questions at once, so that the engine computes what their prompts share once.

        A limit keeps a long document (a book in a thousand windows) from taking all slots of the
        engine.
        """
        share = asyncio.Semaphore(max(_LEAST_SHARE, int(_SHARE * self._engine.question_slots)))

        async def ask(one: PromptedQuestion) -> _Outcome:
            async with share:
                return await self._ask(one, document)

        return list(await asyncio.gather(*map(ask, prompted)))

    def size(self, document: Document) -> int:
        """Estimate the characters of all prompts about a document without making the prompts.

        A prompt is an instruction and a window of the text. The questions on a text of one word
        show how many questions a window gets and how long their instructions are. A task that asks
        nothing about one word is estimated by the questions that the document itself asks.
        """
        if document.status != "ok":
            return 0
        of_language: Counter[str] = Counter()
        for passage in document.passages:
            of_language[passage.language] += len(passage.text)
        languages = [language for language in LANGUAGES if of_language[language]]
        own = [len(p.text) + _INSTRUCTION for p in document.passages if p.type == OWN_QUESTION]
        total = 0
        for number, assignment in enumerate(self._assignments):
            if assignment.task.asks:
                total += self._size_of_known(assignment, document)
                continue
            on_a_word = {language: self._on_a_word(number, language) for language in languages}
            if not any(on_a_word.values()):
                total += self._size(of_language.total(), own or [_INSTRUCTION], "zh")
            for language, instructions in on_a_word.items():
                total += self._size(of_language[language], instructions, language)
        return total

    def _size(self, text: int, instructions: Sequence[int], language: str) -> int:
        """Estimate the characters of all prompts of one task about a text.

        Args:
            text: the characters of the text.
            instructions: the characters of the instruction of each question on a window.
            language: of the text, which decides how many characters fit into a window.
        """
        room = self._tokens * _CHARACTERS_A_TOKEN[language] - max(instructions, default=0)
        windows = -(-text // max(_SMALLEST_WINDOW, room))
        return len(instructions) * text + windows * sum(instructions)

    def _size_of_known(self, assignment: Assignment, document: Document) -> int:
        """Estimate the prompts of a task that asks about what it finds in the document."""
        asks = assignment.task.asks
        try:
            number = asks(document, assignment) if asks else 0
        except NotApplicable:
            return 0
        characters = sum(len(passage.text) for passage in document.passages)
        return self._size(characters, [_INSTRUCTION] * number, "zh")

    def _on_a_word(self, number: int, language: str) -> list[int]:
        """The characters of each question that an assignment asks about a text of one word."""
        if (number, language) not in self._lengths:
            word = Document("", passages([("text", language, "word")]))
            try:
                questions = self._assignments[number].questions(word)
            except NotApplicable:
                questions = []
            self._lengths[number, language] = [
                sum(len(message["content"]) for message in question.messages)
                for question in questions
            ]
        return self._lengths[number, language]

    def _fitting(self, assignment: Assignment, document: Document) -> list[PromptedQuestion]:
        """A task's questions with their prompts, in windows small enough for the context.

        Raises:
            NotApplicable: the task has nothing to ask of this document.
            QuestionError: the instruction leaves no room for even the smallest window.
        """
        limit = self._tokens * _LONGEST_TOKEN
        while True:
            fitting: list[PromptedQuestion] = []
            for question in assignment.questions(document, limit):
                prompt = self._engine.prompt(question)
                if prompt.tokens > self._tokens:
                    break
                fitting.append(PromptedQuestion(assignment.task, question, prompt))
            else:
                return fitting
            shown = len(question.window.text)
            limit = min(int(shown * self._tokens / prompt.tokens * 0.95), int(shown * 0.9))
            if limit < _SMALLEST_WINDOW:
                raise QuestionError(
                    f"the prompt of {assignment.task.name} takes {prompt.tokens} of "
                    f"{self._engine.context_length} tokens however little text it holds; raise "
                    "--context-length or ask for less"
                )

    async def _ask(self, prompted: PromptedQuestion, document: Document) -> _Outcome:
        task, question, prompt = prompted
        room = self._engine.context_length - prompt.tokens
        first = min(self._max_tokens, room)
        answers: list[Answer] = []
        parsed: Parsed | None = None
        problem: str | None = None
        message = ""
        for attempt, allowed in enumerate((first, min(first * SECOND_CHANCE, room))):
            try:
                completion = _storable(await self._engine.complete(question, prompt, allowed))
            except QuestionError as error:
                answers.append(_answer(question, attempt, None, prompt, "engine_error"))
                problem, message = "engine_error", storable_text(str(error))
                break
            cut = _CUT.get(completion.finish_reason)
            parsed = await asyncio.to_thread(
                task.parse,
                completion.text,
                question,
                document,
                cut=bool(cut),
                scores=completion.scores,
            )
            problem = cut or parsed.problem
            message = f"the answer ended after {completion.output_tokens} tokens" if cut else ""
            answers.append(_answer(question, attempt, completion, prompt, problem))
            if cut != "cut_off" or allowed == min(first * SECOND_CHANCE, room):
                break
        annotations = parsed.annotations if parsed else Annotations()
        if problem is None or problem == "not_in_text":
            return _Outcome(question, answers, annotations)
        where = f"{question.key} {question.language} window {question.window.index}"
        return _Outcome(
            question,
            answers,
            annotations,
            Failure(problem, where, message or "the answer is not in the form asked for"),
            usable=annotations != Annotations() or problem in _CUT.values(),
        )


_MOST_TOKENS = (1 << 31) - 1


def _storable(completion: Completion) -> Completion:
    """Change an engine's answer where a row cannot hold it as it is.

    A lone surrogate (half a character) becomes U+FFFD, and a count is limited to 32 bits. Scores
    are dropped when one of them is NaN.
    """
    scores = completion.scores
    if scores is not None:
        scores = replace(scores, text=storable_text(scores.text))
        if any(math.isnan(logprob) for logprob in scores.logprobs):
            scores = None
    return replace(
        completion,
        text=storable_text(completion.text),
        scores=scores,
        prompt_tokens=_count(completion.prompt_tokens),
        cached_tokens=_count(completion.cached_tokens),
        output_tokens=_count(completion.output_tokens),
    )


def _count(tokens: int) -> int:
    return min(max(tokens, 0), _MOST_TOKENS)


def _answer(
    question: Question,
    attempt: int,
    completion: Completion | None,
    prompt: Prompt,
    error: str | None,
) -> Answer:
    return Answer(
        task=question.key,
        types=[term.name for term in question.types],
        language=question.language,
        window=question.window.index,
        attempt=attempt,
        raw=completion.text if completion else None,
        prompt_tokens=completion.prompt_tokens if completion else prompt.tokens,
        cached_tokens=completion.cached_tokens if completion else 0,
        output_tokens=completion.output_tokens if completion else 0,
        finish_reason=completion.finish_reason if completion else None,
        error=error,
    )


def _joined(document: Document, outcomes: Sequence[_Outcome], questions: Questions) -> Annotated:
    """Join the outcomes of all questions on a document into its result.

    Args:
        document: the document.
        outcomes: the outcomes of the questions that were asked.
        questions: those questions, and why tasks asked nothing.
    """
    faults = [outcome.failure for outcome in outcomes if outcome.failure] + questions.too_long
    status: Status = "partial" if faults else "ok"
    if faults and not any(outcome.usable for outcome in outcomes):
        status = "failed"
    return Annotated(
        document,
        merge(_over_windows(outcomes)),
        [answer for outcome in outcomes for answer in outcome.answers],
        status,
        [*document.errors, *faults, *questions.not_applicable],
    )


def _over_windows(outcomes: Sequence[_Outcome]) -> list[Annotations]:
    """The annotations of each outcome, where answers to a question about all windows are joined.

    Texts in one language are joined by line feeds, in the order of the windows. Where only one
    label may be true, the first outcome with a label counts, whatever its language.
    """
    parts: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        for text in outcome.annotations.texts:
            parts.setdefault((text.task, outcome.question.language), []).append(text.text)
    labelled: set[str] = set()
    joined = []
    for outcome in outcomes:
        question, stated = outcome.question, outcome.annotations
        texts = [  # the first window has the whole text, the others have none
            Text(text.task, SEPARATOR.join(whole))
            for text in stated.texts
            if (whole := parts.pop((text.task, question.language), None))
        ]
        labels = stated.labels
        if labels and not question.multi_label:
            labels = [] if question.key in labelled else labels
            labelled.add(question.key)
        joined.append(replace(stated, texts=texts, labels=labels))
    return joined
