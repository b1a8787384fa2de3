"""The one way from settings to a prepared model: found, tokenizer, grammar, context, room for it.

The job, the service and the estimate go it, before anything is started or written.
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
    """What an engine can be started with.

    Attributes:
        config: the settings, with what the model decides settled.
        answering: what answers the questions.
        context_limit: tokens of a prompt and its answer together.
        tokenizer: the model's, if it has one here that was loaded.
    """

    config: Config
    answering: Answering
    context_limit: int
    tokenizer: PreTrainedTokenizerBase | None = None


def prepare(
    config: Config, *, known: bool = False, kind: EngineKind | None = None
) -> Prepared[Config]:
    """Find what answers the questions, and see that it can.

    Args:
        config: the settings of a command.
        known: the model's tokenizer was checked before (an output has rows of it): not again.
        kind: instead of the engine that the settings name.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
        ServerGone: the server of an engine does not answer.
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
    """Return the tokens that a prompt and its answer may have: as asked, or 4096 or what it can.

    Args:
        context_length: what the model can see at once, if that is known.

    Raises:
        ConfigError: more is asked than it reaches.
    """
    if asked is None:
        return min(_DEFAULT_CONTEXT, context_length or _DEFAULT_CONTEXT)
    if context_length and asked > context_length:
        raise ConfigError(f"--context-limit {asked}: {name} reaches {context_length}")
    return asked
