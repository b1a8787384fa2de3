"""Makes settings of flags and a YAML file, and says in one line what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from taiyi_ray import storage
from taiyi_ray.config.settings import Settings, renamed
from taiyi_ray.errors import ConfigError, nearest

AnySettings = TypeVar("AnySettings", bound=Settings)


def read_yaml(option: str, path: str) -> Any:
    """Read the YAML file that an option names, at a path or an s3:// address.

    Args:
        option: the option as it is written on the command line, for the errors.
        path: the path or the address.

    Raises:
        ConfigError: the file is not there, cannot be read, or is no YAML in UTF-8.
        StorageError: the store of the address cannot be read.
    """
    address = storage.absolute(path)
    try:
        # `storage.read` reads only files, and a path may be a pipe (`--config <(make-it)`).
        here = storage.is_local(address)
        data = Path(address).read_bytes() if here else storage.read(address)
        if data is None:
            raise ConfigError(f"{option} {path}: no such file")
        return yaml.safe_load(data.decode())
    except OSError as error:
        raise ConfigError(f"{option} {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{option} {path}: not YAML in UTF-8: {reason}") from error


def load(kind: type[AnySettings], path: str | None, flags: dict[str, Any]) -> AnySettings:
    """Make the settings from a YAML file and flags; a flag replaces the value in the file.

    Args:
        kind: the class of the settings.
        path: the YAML file, if there is one.
        flags: the flags that the user gave, by the names of the settings.

    Raises:
        ConfigError: a setting is unknown or missing or has a wrong value; the message names all.
    """
    values: dict[str, Any] = {}
    if path is not None:
        loaded = read_yaml("--config", path)
        if not isinstance(loaded, dict):
            raise ConfigError(f"--config {path}: expected keys and values, as in `tasks: [ner]`")
        values = renamed(loaded)
    values |= renamed(flags)
    try:
        return kind(**values)
    except ValidationError as error:
        raise ConfigError(explain(error, kind)) from error
    except TypeError as error:  # a key that is no string
        raise ConfigError(f"--config {path}: {error}") from error


_MOST_SHOWN = 120
"""The most characters that an error shows of a list or a mapping."""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Everything that is wrong with the values of a pydantic model, in one line."""
    return "; ".join(_explain(e, model) for e in error.errors())


def _inner(kind: Any) -> Iterator[type[BaseModel]]:
    """The models that a type holds."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for one in get_args(kind):
        yield from _inner(one)


def _explain(error: Any, model: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if not name:  # the error is about more than one setting
        return str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        *outer, last = error["loc"]
        inner = [one for field in model.model_fields.values() for one in _inner(field.annotation)]
        known = [key for one in (inner if outer else [model]) for key in one.model_fields]
        return f"unknown setting {name!r}{nearest(str(last), known)}"
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] in ("secret", "no_unicode"):
        return f"{name}: {error['msg']}"
    given = repr(error["input"])
    if len(given) > _MOST_SHOWN and not isinstance(error["input"], str):
        given = f"{given[:_MOST_SHOWN]} ..."
    return f"{name}: {error['msg'].removeprefix('Value error, ')}, got {given}"
