"""Prepare an engine: find its model, load the tokenizer, check grammar, context and memory.

The job, the service, the estimate and the Python API do this before they start or write anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from taiyi_ray import models, placement
from taiyi_ray.config import DEFAULT_CONTEXT, EngineSettings
from taiyi_ray.engine import ENGINES, Answering, EngineKind
from taiyi_ray.errors import ConfigError
from taiyi_ray.models import Model
from taiyi_ray.tasks import TASKS
from taiyi_ray.tasks.template import PLAIN_FORM, SHORT_FORM, AskingForm

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Config = TypeVar("Config", bound=EngineSettings)


@dataclass(frozen=True)
class Prepared(Generic[Config]):
    """All that is needed to start an engine.

    Attributes:
        config: the settings; those that depend on the model have their final values.
        answering: what answers the questions.
        context_length: the most tokens of a prompt and its answer together.
        form: the form of the questions.
        tokenizer: the tokenizer of the model, if `prepare` loaded it.
    """

    config: Config
    answering: Answering
    context_length: int
    form: AskingForm = PLAIN_FORM
    tokenizer: PreTrainedTokenizerBase | None = None


def prepare(
    config: Config, *, known: bool = False, kind: EngineKind | None = None
) -> Prepared[Config]:
    """Find what answers the questions, and check that it can.

    Args:
        config: the settings of a command.
        known: whether the tokenizer was checked before, because the output has rows of this model;
            then it is not loaded.
        kind: the kind of engine that is prepared, if it is not the one that the settings name. The
            form of the questions is still that of the settings' engine.

    Raises:
        ConfigError, ModelError, StorageError: the user must change something.
        ServerGone: the server does not answer.
    """
    kind = kind or ENGINES[config.engine]
    answering = kind.probe(config)
    model, tokenizer = answering.model, None
    if model and not known:
        tokenizer = models.load_tokenizer(
            model, config.chat, trust_remote_code=config.trust_remote_code
        )
        if config.grounding == "grammar":
            models.check_grammar(tokenizer)
    length = settled_context(answering.name, config.context_length, answering.context_length)
    if model:
        placement.check_fits(config, model, length)
    settled = {**answering.settings, "context_length": length}
    asked = [model] if model and ENGINES[config.engine].runs_model else []
    form = asking_form(config, *asked)
    return Prepared(config.model_copy(update=settled), answering, length, form, tokenizer)


def asking_form(config: EngineSettings, *given: Model) -> AskingForm:
    """Return the form of the questions: the one that the model wants, with the user's `--wording`.

    Args:
        config: the settings of a command.
        *given: the model, if it was found already, with its adapter before it: the first whose
            folder names a form counts.

    Raises:
        ConfigError: no task has the wording.
        ModelError, StorageError: the model is not there, or its folder names no known form.
    """
    if not given and ENGINES[config.engine].runs_model:
        given = (models.resolve(config.model, config.adapter),)
    named = (models.asking_form(str(model.path)) for model in given)
    form = next(filter(None, named), PLAIN_FORM)
    if config.wording is not None:
        wanted = SHORT_FORM if config.wording == "short" else AskingForm(wording=config.wording)
        form = form.model_copy(update={"wording": wanted.wording, "headed": wanted.headed})
    most = min(task.wordings for task in TASKS.values())
    if form.wording > most:
        raise ConfigError(f"--wording {form.wording}: the tasks have wordings 1 to {most}")
    return form


def settled_context(name: str, asked: int | None, of_model: int | None) -> int:
    """Return the most tokens that a prompt and its answer may have together.

    Without a wish this is 4096, or the model's context length if that is shorter.

    Args:
        name: the name of the model, for the error.
        asked: the user's `--context-length`, if it is given.
        of_model: the model's context length in tokens, if it is known.

    Raises:
        ConfigError: the user asks for more than the model's context length.
    """
    if asked is None:
        return min(DEFAULT_CONTEXT, of_model or DEFAULT_CONTEXT)
    if of_model and asked > of_model:
        raise ConfigError(f"--context-length {asked}: {name} takes {of_model} tokens at most")
    return asked
