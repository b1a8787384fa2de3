"""Finds what looks like a secret in settings, which are written into files and logs."""

from __future__ import annotations

import re

from pydantic import JsonValue
from pydantic_core import PydanticCustomError

# Matches names of secrets, such as vLLM's hf_token or an api_key in extra_body, but not
# max_num_batched_tokens.
_SECRET = re.compile(
    r"(^|[_-])(secrets?|passwor[dt]s?|passwd|credentials?|authorization"
    r"|((api|access|private|secret|aws)[_-]?)+keys?"
    r"|(hf|api|auth|access|bearer|session)[_-]?tokens?)$"
    r"|^(key|token)$",
    re.IGNORECASE,
)
_NAMED_TEXT = re.compile(r"\s*(?:-{1,2})?([A-Za-z][\w-]*)\s*[:=]\s*\S")
URL_WITH_PASSWORD = re.compile(r"//[^/@\s]*:[^/@\s]*@")


def without_secrets(arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the arguments of an engine; a secret in them is an error of pydantic."""
    if name := _secret_in(arguments):
        # The error does not show the value, because the error may be logged.
        raise PydanticCustomError(
            "secret",
            "{name} looks like a secret, which would be written into job.json; give it in the "
            "environment of the engine (HF_TOKEN, TAIYI_RAY_API_KEY)",
            {"name": name},
        )
    return arguments


def _secret_in(value: JsonValue) -> str | None:
    """The name of a text in `value`, at any depth, that looks like a secret; None without one.

    The name may be the key of the text, or stand before it in a list of pairs
    (`[["api_key", "..."]]`), beside it (`{"name": "api_key", "value": "..."}`) or in the text
    itself (`Authorization: ...`, `--api-key=...`). An address with a password counts, too.
    """
    if isinstance(value, str):
        named = _NAMED_TEXT.match(value)
        if named and _SECRET.search(named[1]):
            return named[1]
        return "an address with a password" if URL_WITH_PASSWORD.search(value) else None
    if isinstance(value, dict):
        pairs = [*value.items(), (value.get("name"), value.get("value"))]
        for name, inner in pairs:
            if isinstance(name, str) and _SECRET.search(name) and _holds_text(inner):
                return name
        value = list(value.values())
    if isinstance(value, list):
        for pair in value:
            match pair:
                case [str(name), inner] if _SECRET.search(name) and _holds_text(inner):
                    return name
        return next((found for inner in value if (found := _secret_in(inner))), None)
    return None


def _holds_text(value: JsonValue) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return (
        any(map(_holds_text, value))
        if isinstance(value, list)
        else isinstance(value, str) and bool(value)
    )
