"""The fingerprint of a run: a digest of the settings that can change an answer, and of no others.

The version of the engine, the machine, the size of units, `--limit` and paths are not in it. A run
into an output that has another fingerprint is refused, except that `--retry-failed` may change what
`_MAY_CHANGE` names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from taiyi_ray.config import EngineSettings
from taiyi_ray.engine import ENGINES
from taiyi_ray.engine.engine import DECODING
from taiyi_ray.grounding import GRAMMAR
from taiyi_ray.tasks.task import WINDOWS, Assignment

_MAY_CHANGE = ("model", "chat", "max_tokens", "context_limit", "templates", "headed", "scores")


def identity(
    config: EngineSettings,
    assignments: Sequence[Assignment],
    model_digest: str,
    columns: Mapping[Any, str] | None = None,
) -> dict[str, Any]:
    """Everything that can change an answer, as plain JSON values, by dotted names.

    Args:
        config: the settings.
        assignments: the tasks as the run asks them.
        model_digest: what stands for the model: its digest, or the identity of what answers.
        columns: the names that sources have for the keys of a document (`--column`).
    """
    kind = ENGINES[config.engine]
    values: dict[str, Any] = {
        "engine": kind.answers_as,
        "model": model_digest,
        "chat": config.chat,
        "grounding": config.grounding,
        "max_tokens": config.max_tokens,
        "context_limit": config.context_length,  # outputs on disk have it under its first name
        "decoding": DECODING,
        "arguments": {
            name: config.engine_args[name]
            for name in kind.answer_arguments
            if name in config.engine_args
        },
        "document_first": any(assignment.document_first for assignment in assignments),
        "scores": config.scores,
        "windows": WINDOWS,
    }
    if config.grounding == "grammar":
        values["grammar"] = GRAMMAR
    if columns:
        values["columns"] = dict(columns)
    for assignment in assignments:
        for key, value in assignment.identity().items():
            values[f"{assignment.task.name}.{key}"] = value
    return dict(json.loads(json.dumps(values, sort_keys=True)))


def fingerprint(values: dict[str, Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of the identity."""
    data = json.dumps(values, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def differences(old: dict[str, Any], new: dict[str, Any], *, retry: bool = False) -> list[str]:
    """Return one line for each value that differs between two identities.

    Args:
        old: the identity of the output.
        new: the identity of this run.
        retry: whether failed documents are done again; then some values may differ.
    """
    return [
        f"{name}: {_short(old.get(name))} there, {_short(new.get(name))} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
        if not (retry and name.rpartition(".")[2] in _MAY_CHANGE)
    ]


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
