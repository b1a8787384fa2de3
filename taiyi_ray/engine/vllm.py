"""The vLLM engine: an AsyncLLM on GPU or CPU, whose `guidance` backend applies the grammars."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from taiyi_ray import models
from taiyi_ray.engine.engine import (
    DECODING,
    REPETITION_DETECTION,
    Completion,
    FinishReason,
    Prompt,
    behind_head,
    grammar_of,
    of_tokens,
    scores_of,
)
from taiyi_ray.engine.grammars import OneGrammarScheduler, checked_parameters
from taiyi_ray.errors import ConfigError, EngineDied, QuestionError
from taiyi_ray.placement import fast_bfloat16
from taiyi_ray.tasks.scores import Scores
from taiyi_ray.tasks.task import Question

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

_MAX_NUM_SEQS = 64
"""The answers that vLLM writes at once, unless its argument `max_num_seqs` says otherwise."""


_CPU_BLOCK = 32
"""The tokens of a block of the prefix cache on a CPU, where vLLM's default is 128. Questions on one
document share whole blocks only. Smaller ones are not for the fast kernels there."""


def question_slots(arguments: Mapping[str, Any]) -> int:
    """How many questions an engine with these arguments takes at once.

    They are twice the answers that it writes at once, so that the next questions wait in its queue.
    """
    return 2 * int(arguments.get("max_num_seqs", _MAX_NUM_SEQS))


def prepare_environment() -> None:
    """Set the environment variables that vLLM reads at import, unless the user has set them.

    vLLM's child processes inherit them.
    """
    import torch

    defaults = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if not torch.cuda.is_available():
        # By default vLLM keeps a core for its front end and takes most of the memory as cache. On a
        # small machine this halves the rate and leaves too little for everything else.
        cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
        defaults |= {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": cores}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def engine_arguments(
    model_path: str, *, context_length: int, trust_remote_code: bool, arguments: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of vLLM's engine: ours, then the user's, which replace ours.

    Args:
        model_path: the folder of the model.
        context_length: the most tokens of a prompt and its answer together.
        trust_remote_code: whether the code that comes with the model may run.
        arguments: the user's arguments.
    """
    import torch

    ours: dict[str, Any] = {
        "model": model_path,
        "dtype": _dtype(model_path),
        "max_model_len": context_length,
        "max_num_seqs": _MAX_NUM_SEQS,
        "seed": 0,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "trust_remote_code": trust_remote_code,
        "structured_outputs_config": {"backend": "guidance"},
    }
    if not torch.cuda.is_available():
        ours["enforce_eager"] = True  # compiling takes minutes and gains nothing in short runs
        ours["block_size"] = _CPU_BLOCK  # on a GPU vLLM itself takes the smallest that is fast
    return ours | arguments


def _dtype(model_path: str) -> str:
    """The type of the numbers that an engine computes with.

    Weights that are quantised want 16 bits.
    """
    model = models.Model(model_path, Path(model_path), "")
    return "bfloat16" if fast_bfloat16() or models.is_quantised(model) else "float32"


def sampling_parameters(
    grammar: str | None, max_tokens: int, stop_token_ids: list[int], *, scores: bool = False
) -> SamplingParams:
    """The parameters by which vLLM decodes an answer.

    Args:
        grammar: the Lark grammar of the answer, if it is constrained.
        max_tokens: the most tokens of the answer.
        stop_token_ids: the tokens that end the answer.
        scores: whether vLLM gives the log-probability of each token.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import (
        RepetitionDetectionParams,
        RequestOutputKind,
        StructuredOutputsParams,
    )

    return (checked_parameters() if grammar else SamplingParams)(
        temperature=cast(float, DECODING["temperature"]),
        max_tokens=max_tokens,
        stop_token_ids=stop_token_ids,
        logprobs=0 if scores else None,
        flat_logprobs=scores,
        output_kind=RequestOutputKind.FINAL_ONLY,
        repetition_detection=RepetitionDetectionParams(**REPETITION_DETECTION),
        structured_outputs=StructuredOutputsParams(grammar=grammar) if grammar else None,
        skip_clone=True,  # they are of one question
    )


class VllmEngine:
    """One AsyncLLM on a local model folder.

    Args:
        model_path: a folder with config, tokenizer and safetensors.
        chat: the form of the prompts.
        context_length: the most tokens of a prompt and its answer together (vLLM's max_model_len).
        trust_remote_code: whether the code that comes with the model may run.
        scores: whether answers come with the log-probabilities of their tokens.
        arguments: further arguments of vLLM's AsyncEngineArgs; they replace ours.
        metrics: whether vLLM's own counts (queue, tokens, latencies ...) become Ray's metrics.

    Attributes:
        client: vLLM's AsyncLLM, which vLLM's serving classes need.
        stop_token_ids: the tokens that end an answer, besides those in the model's own settings.
    """

    def __init__(
        self,
        model_path: str,
        *,
        chat: models.ChatForm,
        context_length: int,
        trust_remote_code: bool,
        scores: bool,
        arguments: dict[str, Any],
        metrics: bool = False,
    ) -> None:
        prepare_environment()
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        given = engine_arguments(
            model_path,
            context_length=context_length,
            trust_remote_code=trust_remote_code,
            arguments={
                "disable_log_stats": not metrics,
                "scheduler_cls": OneGrammarScheduler,
            }
            | arguments,
        )
        loggers: list[Any] = []
        if metrics:
            from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

            loggers.append(RayPrometheusStatLogger)
        try:
            engine_args = AsyncEngineArgs(**given)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"--engine-arg: vLLM refuses it: {error}") from error
        self.client = AsyncLLM.from_engine_args(engine_args, stat_loggers=loggers)
        self._adapter: LoRARequest | None = None
        self._scores = scores
        model = models.Model(model_path, Path(model_path), "")
        tokenizer = models.load_tokenizer(model, chat, trust_remote_code=trust_remote_code)
        self._prompter = models.Prompter(tokenizer, chat)
        self.stop_token_ids = models.stop_token_ids(tokenizer, chat)
        self._numbers = itertools.count()
        self.context_length = context_length
        self.question_slots = question_slots(given)

    def prompt(self, question: Question) -> Prompt:
        return of_tokens(self._prompter, question)

    async def complete(self, question: Question, prompt: Prompt, max_tokens: int) -> Completion:
        from vllm.exceptions import VLLMError
        from vllm.inputs import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        params = sampling_parameters(
            grammar_of(question, prompt), max_tokens, self.stop_token_ids, scores=self._scores
        )
        # A bare dictionary would go through a pool of threads, to be tokenised there.
        given = tokens_input(prompt.content)
        number = f"{question.task}-{next(self._numbers)}"
        last = None
        try:
            async for output in self.client.generate(
                given, params, number, lora_request=self._adapter
            ):
                last = output
        except EngineDeadError as error:
            raise EngineDied(str(error)) from error
        except (ValueError, VLLMError) as error:
            raise QuestionError(f"{type(error).__name__}: {error}") from error
        if last is None or last.outputs[0].finish_reason not in ("stop", "length", "repetition"):
            reason = last.outputs[0].finish_reason if last else "no output"
            raise QuestionError(f"the engine ended the answer: {reason}")
        answer = last.outputs[0]
        completion = Completion(
            text=answer.text,
            finish_reason=cast(FinishReason, answer.finish_reason),
            prompt_tokens=prompt.tokens,
            cached_tokens=last.num_cached_tokens or 0,
            output_tokens=len(answer.token_ids),
            scores=_scores(answer.text, answer.logprobs) if self._scores else None,
        )
        return behind_head(completion, prompt.head)

    @property
    def alive(self) -> bool:
        return not self.client.errored

    @property
    def unanswered(self) -> int:
        return cast(int, self.client.get_num_unfinished_requests())

    def variant(self, *, scores: bool, adapter: Any = None) -> VllmEngine:
        other = copy(self)
        other._scores, other._adapter = scores, adapter
        return other

    def close(self) -> None:
        self.client.shutdown()


def _scores(text: str, logprobs: Any) -> Scores | None:
    """The scores of an answer, from vLLM's FlatLogprobs.

    Its lists hold the candidates of all positions; the first at each position is the token that
    was chosen.
    """
    firsts = logprobs.start_indices
    tokens = [logprobs.decoded_tokens[first] or "" for first in firsts]
    return scores_of(text, tokens, [logprobs.logprobs[first] for first in firsts])
