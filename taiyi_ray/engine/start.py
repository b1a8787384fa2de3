"""Start an engine, or say why it did not start."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import SecretStr

from taiyi_ray import models
from taiyi_ray.config import EngineSettings
from taiyi_ray.engine import ENGINES
from taiyi_ray.engine.engine import Engine
from taiyi_ray.errors import TaiyiError
from taiyi_ray.models import Model

NOT_STARTED = "no engine could be started"
"""The beginning of every message about an engine that did not start."""

_LOG_TAIL = 50_000


def model_here(config: EngineSettings, digest: str) -> Model | None:
    """Find the model of an engine on this node; None for an engine that runs no model.

    Args:
        config: the settings.
        digest: the digest that `prepare` found; the model on this node must have the same.

    Raises:
        ModelError, StorageError: the model is not on this node, or another model is.
    """
    if not ENGINES[config.engine].runs_model:
        return None
    return models.resolve(config.model, config.adapter, digest)


def start(
    config: EngineSettings,
    model: Model | None,
    key: SecretStr | None = None,
    *,
    metrics: bool = False,
) -> Engine:
    """Start the engine that the settings name; a real one takes up to a minute.

    Args:
        config: the settings, with the context length settled by `prepare`.
        model: the model that `model_here` returned.
        key: the key of the server, for an engine that asks one.
        metrics: whether the numbers that the engine counts become metrics of Ray.
    """
    return ENGINES[config.engine].start(config, model, key, metrics)


def why_not_started(error: Exception) -> str:
    """Why an engine did not start: the message of a TaiyiError, else the cause in the log."""
    return str(error) if isinstance(error, TaiyiError) else logged_error() or str(error)


def logged_error() -> str:
    """The last exception in this process's log, or nothing.

    When vLLM fails in a child process, only the log names the cause.
    """
    try:
        log = Path("/proc/self/fd/2").resolve(strict=True)
        if not log.is_file():  # reading a terminal would wait for input
            return ""
        lines = log.read_text(errors="replace")[-_LOG_TAIL:].splitlines()
    except OSError:
        return ""
    named = [line for line in lines if re.search(r"\b\w+(Error|Exception): ", line)]
    causes = [line for line in named if "Engine core initialization failed" not in line]
    return re.sub(r"^.*?(?=\b\w+(Error|Exception): )", "", causes[-1]) if causes else ""
