"""Engines answer questions. One interface; `vllm` runs a model, `fake` answers by a script.

An engine lives in one asyncio loop and answers many questions at once: it does its own batching.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from taiyi_ray.config import AnnotateConfig
from taiyi_ray.tasks.task import Question

DECODING = {"temperature": 0.0, "repetition": {"min_size": 1, "max_size": 12, "min_count": 3}}
"""Greedy; an answer that repeats an n-gram of 1 to 12 tokens three times in a row is ended."""

ANSWER_ARGUMENTS = {
    "vllm": ("dtype", "quantization", "kv_cache_dtype", "hf_overrides", "rope_scaling", "revision"),
    "fake": ("garbage", "cut", "repeat", "refuse"),
}
"""The engine arguments that can change an answer, and so belong to the fingerprint."""

FinishReason = Literal["stop", "length", "repetition"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine wrote; `length` means cut at its token limit, `repetition` in a loop."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int


class Engine(Protocol):
    """Answers questions. `context_limit` counts the tokens of a prompt and its answer together.

    `prompt` renders and tokenises a question once; `complete` raises QuestionError when this
    question cannot be answered and EngineDied when none can any more.
    """

    context_limit: int
    most_in_flight: int

    def prompt(self, question: Question) -> list[int]: ...

    async def complete(
        self, question: Question, prompt: list[int], max_tokens: int
    ) -> Completion: ...

    def close(self) -> None: ...


def engine_of(config: AnnotateConfig, model_path: str | None) -> Engine:
    """Start the engine that the configuration asks for; takes up to a minute for a real one."""
    options: dict[str, Any] = dict(config.engine_args)
    assert config.context_limit is not None, "the job settles it before it starts engines"
    if config.engine == "fake":
        from taiyi_ray.engine.fake import FakeEngine

        return FakeEngine(config.context_limit, **options)
    from taiyi_ray.engine.vllm import VllmEngine

    assert model_path is not None
    return VllmEngine(
        model_path,
        chat=config.chat,
        context_limit=config.context_limit,
        trust_remote_code=config.trust_remote_code,
        arguments=options,
    )
