"""What the user may have wrong, found before anything is written and before any GPU is taken."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from taiyi_ray import models, storage
from taiyi_ray.config import TrainConfig
from taiyi_ray.errors import ConfigError, ModelError, first_line, nearest
from taiyi_ray.placement import GPUS, fast_bfloat16
from taiyi_ray.train import network, store

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def check(config: TrainConfig, model: models.Model, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check the data, the chat template, the lengths and the layers of a run.

    Args:
        config: the settings.
        model: the model.
        tokenizer: its tokenizer.

    Raises:
        ConfigError: a folder of the data is missing, a file lacks a column or is damaged, or
            records could be longer than the model's context.
        ModelError: the model has no chat template that takes a question, is of no architecture
            that can be trained, or lacks a layer that shall get an adapter.
    """
    _check_template(model, tokenizer, config.chat)
    _check_length(config, model)
    empty = _without_weights(config, model)
    begins = config.method != "full" and config.adapter is None
    if begins and isinstance(config.targets, list) and empty is not None:
        network.check_targets(empty, config.targets)
    store.check(storage.absolute(config.data), _folders(config))
    for warning in _doubtful(config):
        logger.warning(warning)


def _doubtful(config: TrainConfig) -> Iterator[str]:
    """What is allowed, and hardly meant."""
    alone = not config.worker_range[1]
    if config.precision == "bf16" and alone and not fast_bfloat16():
        yield (
            "this processor has no fast way to multiply in bfloat16: --precision float32 takes "
            "twice the memory and a fraction of the time"
        )
    if config.fsdp and alone:
        yield "fsdp: there are no workers to divide the weights among; give --workers"
    if config.gpu and config.gpu not in GPUS and (near := nearest(config.gpu, GPUS)):
        yield f"gpu: {config.gpu!r} is no kind that is known here{near}"
    if config.stages == "2" and config.adapter is None and config.method != "full":
        yield "stages: stage 2 begins with the model alone; give stage 1's adapter as --adapter"


def _folders(config: TrainConfig) -> Iterable[str]:
    folders = [folder for stage in config.stages_to_train for folder in stage.data]
    return dict.fromkeys([*folders, *(["dev"] if config.eval_every else [])])


def _check_template(
    model: models.Model, tokenizer: PreTrainedTokenizerBase, form: models.ChatForm
) -> None:
    try:
        models.prompt_tokens(tokenizer, [{"role": "user", "content": "?"}], form)
    except TemplateError as error:
        raise ModelError(
            f"model {model.name}: its chat template refuses a question ({first_line(error)})"
        ) from error


def _check_length(config: TrainConfig, model: models.Model) -> None:
    try:
        longest = models.context_length(model)
    except ModelError:  # its config.json does not say it
        return
    if config.row_tokens > longest:
        raise ConfigError(
            f"row_tokens: {config.row_tokens:,} is more than the {longest:,} tokens that the model "
            f"{model.name} takes at most; give --row-tokens {longest}"
        )


def _without_weights(config: TrainConfig, model: models.Model) -> nn.Module | None:
    """The layers of a model, without memory for weights; None where its class cannot do that.

    Raises:
        ModelError: its architecture is unknown, or no model that writes text.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    code = config.trust_remote_code
    try:
        about = AutoConfig.from_pretrained(
            model.path, local_files_only=True, trust_remote_code=code
        )
        if not code and type(about) not in AutoModelForCausalLM._model_mapping:
            raise ValueError(f"{about.model_type} is no causal language model")
    except (ValueError, OSError) as error:
        raise ModelError(
            f"model {model.name}: its architecture cannot be trained ({first_line(error)})"
        ) from error
    with suppress(Exception), torch.device("meta"):  # a model's own code may raise anything
        made: nn.Module = AutoModelForCausalLM.from_config(about, trust_remote_code=code)
        return made
    logger.info("%s: its layers are known only when it is loaded", model.name)
    return None
