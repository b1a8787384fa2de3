"""Engines answer questions: `vllm` runs a model, `http` asks a server, `fake` plays by a script.

An engine lives in one asyncio loop and answers many questions at once: it does its own batching.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from pydantic import SecretStr

from taiyi_ray.config import AskConfig, EngineConfig
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Question

DECODING = {"temperature": 0.0, "repetition": {"min_size": 1, "max_size": 12, "min_count": 3}}
"""Greedy; an answer that repeats an n-gram of 1 to 12 tokens three times in a row is ended."""

_LOG_TAIL = 50_000

MAX_NUM_SEQS = 64
"""Answers that vLLM writes at once, unless its argument of this name says otherwise."""

ANSWER_ARGUMENTS = {
    "vllm": ("dtype", "quantization", "kv_cache_dtype", "hf_overrides", "rope_scaling", "revision"),
    "http": ("extra_body",),
    "fake": ("garbage", "cut", "repeat", "refuse"),
}
"""The engine arguments that can change an answer, and so belong to the fingerprint."""

FinishReason = Literal["stop", "length", "repetition"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question rendered and tokenised once: `content` is for its engine, `tokens` its length."""

    content: Any
    tokens: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine wrote; `length` means cut at its token limit, `repetition` in a loop.

    `scores` are there when the engine was started to give them.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    scores: Scores | None = None


class Engine(Protocol):
    """Answers questions. `context_limit` counts the tokens of a prompt and its answer together.

    `complete` raises QuestionError when this question cannot be answered; when none can any more,
    EngineDied for an engine of ours, ServerGone or ConfigError for a server. Cancelled, it ends the
    answer in the engine, too.
    """

    context_limit: int
    most_in_flight: int

    def prompt(self, question: Question) -> Prompt: ...

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion: ...

    def close(self) -> None: ...


class SharedEngine(Engine, Protocol):
    """An engine of ours that requests with different wishes share."""

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        ...

    @property
    def unanswered(self) -> int:
        """Questions that it works on or that wait in it."""
        ...

    def variant(self, *, scores: bool, adapter: Any = None) -> SharedEngine:
        """The same engine, answering with scores or without, and with an adapter (LoRA) or none."""
        ...


def scores_of(text: str, tokens: Sequence[str], logprobs: Sequence[float]) -> Scores | None:
    """Where each token begins in an answer.

    A token that only begins a character (bytes of a Chinese one) has no text; the token that ends
    it has it all. The closing special token is no text of the answer either. None for a tokenizer
    whose tokens, decoded one by one, do not make the text.
    """
    if not "".join(tokens).startswith(text):
        return None
    starts = list(itertools.accumulate((len(token) for token in tokens), initial=0))[:-1]
    return Scores(text, starts, logprobs)


def engine_of(config: EngineConfig, model_path: str | None, key: SecretStr | None = None) -> Engine:
    """Start the engine that the configuration asks for; takes up to a minute for a real one.

    Args:
        model_path: the folder of the model that vLLM runs.
        key: for the server of the engine http, if it wants one.
    """
    if config.engine == "http":
        from taiyi_ray.engine.http import HttpEngine

        assert isinstance(config, AskConfig), "the service asks no server"
        return HttpEngine(config, key)
    return shared_engine_of(config, model_path)


def shared_engine_of(
    config: EngineConfig, model_path: str | None, *, metrics: bool = False
) -> SharedEngine:
    """Start an engine of ours.

    Args:
        model_path: the folder of the model that vLLM runs.
        metrics: count what vLLM counts of itself, as metrics of Ray.
    """
    options: dict[str, Any] = dict(config.engine_args)
    assert config.context_limit is not None, "it is settled before engines start"
    if config.engine == "fake":
        from taiyi_ray.engine.fake import FakeEngine

        return FakeEngine(config.context_limit, scores=config.scores, **options)
    from taiyi_ray.engine.vllm import VllmEngine

    assert model_path is not None
    return VllmEngine(
        model_path,
        chat=config.chat,
        context_limit=config.context_limit,
        trust_remote_code=config.trust_remote_code,
        scores=config.scores,
        arguments=options,
        metrics=metrics,
    )


def most_in_flight(config: EngineConfig) -> int:
    """Return how many documents an engine of ours takes at once, without starting it."""
    if config.engine == "fake":
        return int(cast(int, config.engine_args.get("most_in_flight", MAX_NUM_SEQS)))
    return 2 * int(cast(int, config.engine_args.get("max_num_seqs", MAX_NUM_SEQS)))


def logged_error() -> str:
    """The last exception in this process's log: vLLM names its cause only there, in a child."""
    try:
        log = Path("/proc/self/fd/2").resolve(strict=True)
        if not log.is_file():  # a terminal, which would be waited for
            return ""
        lines = log.read_text(errors="replace")[-_LOG_TAIL:].splitlines()
    except OSError:
        return ""
    named = [line for line in lines if re.search(r"\b\w+(Error|Exception): ", line)]
    causes = [line for line in named if "Engine core initialization failed" not in line]
    return re.sub(r"^.*?(?=\b\w+(Error|Exception): )", "", causes[-1]) if causes else ""
