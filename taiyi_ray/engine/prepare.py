"""Prepare an engine: find its model, load the tokenizer, check grammar, context and memory.

The job, the service, the estimate and the Python API do this before they start or write anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from taiyi_ray import models, placement
from taiyi_ray.config import Config
from taiyi_ray.engine import ENGINES, Answering, EngineKind
from taiyi_ray.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DEFAULT_CONTEXT = 4096


@dataclass(frozen=True)
class Prepared(Generic[Config]):
    """All that is needed to start an engine.

    Attributes:
        config: the settings; those that depend on the model have their final values.
        answering: what answers the questions.
        context_limit: the most tokens of a prompt and its answer together.
        tokenizer: the tokenizer of the model, if `prepare` loaded it.
    """

    config: Config
    answering: Answering
    context_limit: int
    tokenizer: PreTrainedTokenizerBase | None = None


def prepare(
    config: Config, *, known: bool = False, kind: EngineKind | None = None
) -> Prepared[Config]:
    """Find what answers the questions, and check that it can.

    Args:
        config: the settings of a command.
        known: whether the tokenizer was checked before, because the output has rows of this model;
            then it is not loaded.
        kind: the kind of engine, if it is not the one that the settings name.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
        ServerGone: the server does not answer.
    """
    kind = kind or ENGINES[config.engine]
    answering = kind.probe(config)
    model, tokenizer = answering.model, None
    if model and not known:
        tokenizer = models.load_tokenizer(model, trust_remote_code=config.trust_remote_code)
        if config.grounding == "grammar":
            models.check_grammar(tokenizer)
    limit = settled_context(answering.name, config.context_limit, answering.context_length)
    if model:
        placement.check_fits(config, model, limit)
    settled = {**answering.settings, "context_limit": limit}
    return Prepared(config.model_copy(update=settled), answering, limit, tokenizer)


def settled_context(name: str, asked: int | None, context_length: int | None) -> int:
    """Return the most tokens that a prompt and its answer may have together.

    Without a wish this is 4096, or the model's context length if that is shorter.

    Args:
        name: the name of the model, for the error.
        asked: the user's `--context-limit`, if it is given.
        context_length: the model's context length in tokens, if it is known.

    Raises:
        ConfigError: the user asks for more than the model's context length.
    """
    if asked is None:
        return min(_DEFAULT_CONTEXT, context_length or _DEFAULT_CONTEXT)
    if context_length and asked > context_length:
        raise ConfigError(f"--context-limit {asked}: {name} reaches {context_length}")
    return asked
