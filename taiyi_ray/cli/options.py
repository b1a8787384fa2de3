"""Options of commands are made of settings; the settings of a command are read from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
import yaml

from taiyi_ray.config import RENAMED, AnnotateConfig, AnySettings, Settings, load
from taiyi_ray.errors import ConfigError

EXIT_INTERRUPTED = 130

HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
"""Click's settings of every group of commands."""


def option(
    name: str, *flags: str, metavar: str | None = None, of: type[Settings] = AnnotateConfig
) -> Any:
    """An option of a setting, without a default of its own: --config may give what it does not.

    Args:
        name: the name of the setting.
        *flags: the spellings of the option, if they are not made of the name.
        metavar: how the help shows the value; choices are shown without it.
        of: the class of the settings.
    """
    field = of.model_fields[name]
    default = None if field.is_required() else field.default
    shown = ",".join(default) if isinstance(default, list) else default
    extra = f" (default: {shown})" if shown not in (None, False, {}) else ""
    metavar = metavar or "|".join(_choices(field.annotation)) or None
    return typer.Option(*flags, help=f"{field.description}{extra}", metavar=metavar)


def _choices(annotation: Any) -> tuple[str, ...]:
    """The values that a setting may have, where its type lists them."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next((_choices(one) for one in get_args(annotation) if get_origin(one) is Literal), ())


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _all_names(texts: list[str]) -> list[str]:
    """The names of an option that may be repeated, and each time holds one or more."""
    return [name for text in texts for name in _names(text)]


def _pairs(
    option: str, expected: str, of: Callable[[str], Any] = str
) -> Callable[[list[str]], dict[str, Any]]:
    """Return what reads the `KEY=VALUE` of an option that may be repeated.

    Args:
        option: the option.
        expected: how it is written, for the error.
        of: makes a value of its text; a ValueError is that of the user.
    """

    def read(pairs: list[str]) -> dict[str, Any]:
        found = {}
        for pair in pairs:
            key, _, text = (part.strip() for part in pair.partition("="))
            try:
                value = of(text) if key and text else None
            except ValueError:
                value = None
            if value is None:
                raise ConfigError(f"{option} {pair}: expected {expected}")
            found[key] = value
        return found

    return read


def _engine_args(pairs: list[str]) -> dict[str, Any]:
    parsed = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--engine-arg {pair}: expected name=value, as in max_num_seqs=128")
        try:
            parsed[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--engine-arg {pair}: the value is not YAML; quote it") from error
    return parsed


_READ: dict[str, Callable[[Any], Any]] = {
    "benchmarks": _names,
    "tasks": _names,
    "types": _names,
    "relations": _names,
    "columns": _pairs("--column", "KEY=NAME, as in text=abstract"),
    "adapters": _pairs("--adapter", "NAME=PATH, as in ner=path/to/lora"),
    "engine_args": _engine_args,
    "datasets": _names,
    "accept_terms": _all_names,
    "held_out": _names,
    "rates": _pairs("--rate", "NAME=N, as in ner=1.3 or bc5cdr/ner=2", float),
}
"""Reads the settings that the command line writes in another form than a file does."""


def settings_of(kind: type[AnySettings], context: typer.Context, **more: Any) -> AnySettings:
    """The settings of a command: from its options that have the name of a setting, and --config.

    Args:
        kind: the class of the settings.
        context: holds the options that were given.
        **more: settings that the command itself decides.

    Raises:
        ConfigError: a setting is unknown, missing or has a wrong value.
    """
    given = {
        name: _READ.get(name, lambda value: value)(value)
        for name, value in context.params.items()
        if RENAMED.get(name, name) in kind.model_fields and value not in (None, (), [])
    }
    return load(kind, context.params["config"], given | more)


# The options that more than one command has.
Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help=f"{AnnotateConfig.model_fields['inputs'].description}; PubMed, JATS, BioC, PubTator, "
        "brat, JSON lines, Parquet or plain text, also compressed (.gz)",
    ),
]
Column = Annotated[list[str] | None, option("columns", "--column", metavar="KEY=NAME")]
Tasks = Annotated[str | None, option("tasks", metavar="NAME,...")]
TaskFile = Annotated[str | None, option("task_file", metavar="FILE")]
Types = Annotated[str | None, option("types", metavar="NAME,...")]
Relations = Annotated[str | None, option("relations", metavar="NAME,...")]
Ask = Annotated[str | None, option("ask")]
Model = Annotated[str | None, option("model")]
Adapter = Annotated[str | None, option("adapter")]
Chat = Annotated[str | None, option("chat")]
Wording = Annotated[str | None, option("wording", metavar="short|N")]
Grounding = Annotated[str | None, option("grounding")]
Scores = Annotated[bool | None, option("scores")]
ContextLength = Annotated[int | None, option("context_length")]
ContextLimit = Annotated[int | None, typer.Option(hidden=True)]  # its old name
MaxTokens = Annotated[int | None, option("max_tokens")]
Limit = Annotated[int | None, option("limit")]
Reuse = Annotated[str | None, option("reuse", metavar="DIR")]
Gpu = Annotated[str | None, option("gpu", metavar="KIND")]
Price = Annotated[float | None, option("price")]
TrustRemoteCode = Annotated[bool | None, option("trust_remote_code")]
EngineArg = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-arg",
        metavar="NAME=VALUE",
        help="further argument of the engine; may be repeated. The engine vllm takes those of "
        "vLLM's AsyncEngineArgs; docs/annotate.md lists those of http",
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="YAML file with these settings; an option given here wins over it"
    ),
]
