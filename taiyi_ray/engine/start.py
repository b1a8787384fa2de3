"""Starting an engine, and the reason why one did not start."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import SecretStr

from taiyi_ray import models
from taiyi_ray.config import EngineConfig
from taiyi_ray.engine import ENGINES, adapter_of
from taiyi_ray.engine.engine import Engine
from taiyi_ray.errors import TaiyiError
from taiyi_ray.models import Model

NOT_STARTED = "no engine could be started"
"""How it begins what is said of an engine that did not start."""

_LOG_TAIL = 50_000


def model_here(config: EngineConfig, digest: str) -> Model | None:
    """Find the model of an engine on this node; None for an engine that runs none.

    Args:
        digest: what `prepare` found: it must be the same model here.

    Raises:
        ModelError, StorageError: it is not here, or is another one.
    """
    if not ENGINES[config.engine].runs_model:
        return None
    return models.resolve(config.model, adapter_of(config), digest)


def start(
    config: EngineConfig,
    model: Model | None,
    key: SecretStr | None = None,
    *,
    metrics: bool = False,
) -> Engine:
    """Start the engine that the settings ask for; takes up to a minute for a real one.

    Args:
        config: with the context limit settled.
        model: as `model_here` gave it.
        key: of the server, for an engine that asks one.
        metrics: count what the engine counts of itself, as metrics of Ray.
    """
    return ENGINES[config.engine].start(config, model, key, metrics)


def why_not_started(error: Exception) -> str:
    """Why an engine did not start: what a TaiyiError says, else the cause in the log, if any."""
    return str(error) if isinstance(error, TaiyiError) else logged_error() or str(error)


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
