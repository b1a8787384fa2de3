"""What all settings have in common: they are frozen, hold no secret, and keep old names."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from taiyi_ray.config.secrets import URL_WITH_PASSWORD
from taiyi_ray.errors import ConfigError

_log = logging.getLogger(__name__)

_RANGE = re.compile(r"(\d{1,5})(?::(\d{1,5}))?")

RENAMED = {
    "context_limit": "context_length",
    "max_in_flight": "document_slots",
    "most_in_flight": "question_slots",
}
"""The names that settings and engine arguments have now, by the names that they had before."""


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by the names that they have now; each old name is a warning in the log.

    Raises:
        ConfigError: a value is given under its old name and its new one.
    """
    current = {}
    for name, value in values.items():
        now = RENAMED.get(name, name)
        if now != name and now in values:
            raise ConfigError(f"{name} is the old name of {now}; give only {now}")
        if now != name:
            _log.warning("%s is called %s now; please use the new name", name, now)
        current[now] = value
    return current


def recorded(config: Settings) -> dict[str, Any]:
    """Return the settings as job.json and run.json hold them.

    There each setting keeps the name that it had first, so that what reads these files still works.
    """
    first = {now: name for name, now in RENAMED.items()}
    return {first.get(name, name): value for name, value in config.model_dump().items()}


def completed(
    begun: Mapping[str, Any], now: Mapping[str, Any], kind: type[Settings]
) -> dict[str, Any]:
    """Return the settings that an output was begun with, and those that did not exist then.

    Those are at their defaults: a setting that is added has the default that leaves everything as
    it was.

    Args:
        begun: the settings as the output holds them.
        now: the settings of this run, as it would write them.
        kind: the class of the settings.
    """
    fields = {name: field for name, field in kind.model_fields.items() if name in now}
    added = {name: field.get_default() for name, field in fields.items() if not field.is_required()}
    return added | dict(begun)


def numbers(text: str) -> tuple[int, int]:
    """The fewest and the most of a number or of MIN:MAX; -1 and -1 where the text is neither."""
    found = _RANGE.fullmatch(text)
    if found is None or int(found[2] or found[1]) < int(found[1]):
        return -1, -1
    return int(found[1]), int(found[2] or found[1])


class Settings(BaseModel):
    """The settings of any command, with or without an engine: they are frozen and hold no secret.

    Settings are written into job.json and run.json, and the dashboard of a cluster shows the
    command of a job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _unicode(cls, value: object) -> object:
        """Refuse a path that is not UTF-8: Python has it as surrogates, which JSON cannot hold."""
        for text in _all_texts(value):
            if text == text.encode("utf-8", "ignore").decode():
                continue
            message = "{text} is not UTF-8; rename the file or folder"
            raise PydanticCustomError("no_unicode", message, {"text": repr(text)})
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _no_password(cls, value: object) -> object:
        if any(URL_WITH_PASSWORD.search(text) for text in _texts(value)):
            raise PydanticCustomError(
                "secret",
                "the address holds a password, which would be written into job.json; give it in "
                "the environment",
            )
        return value


def _all_texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _all_texts(inner)


def _texts(value: object) -> list[str]:
    """The texts of a setting that may be addresses: its value, or those of its list or mapping."""
    if isinstance(value, dict):
        value = list(value.values())
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]
