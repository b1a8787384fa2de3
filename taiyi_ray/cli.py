"""The command line `taiyi-ray`: parse, call, print. Exit codes are in docs/architecture.md."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
import yaml

from taiyi_ray import __version__
from taiyi_ray.config import AnnotateConfig, load
from taiyi_ray.errors import ConfigError, TaiyiError

EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="taiyi-ray",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Annotate biomedical literature in English and Chinese, at any scale.",
)


def _option(name: str, *flags: str, metavar: str | None = None) -> Any:
    """An option of a setting, without a default of its own: --config may give what it does not."""
    field = AnnotateConfig.model_fields[name]
    default = None if field.is_required() else field.default
    shown = ",".join(default) if isinstance(default, list) else default
    extra = f" (default: {shown})" if shown not in (None, False, {}) else ""
    return typer.Option(*flags, help=f"{field.description}{extra}", metavar=metavar)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _columns(pairs: list[str] | None) -> dict[str, str] | None:
    parts = [pair.partition("=") for pair in pairs or ()]
    if wrong := [key for key, equals, name in parts if not (key and equals and name)]:
        raise ConfigError(f"--column {wrong[0]}: expected KEY=NAME, as in text=abstract")
    return {key.strip(): name.strip() for key, _, name in parts} or None


def _engine_args(pairs: list[str] | None) -> dict[str, Any] | None:
    if not pairs:
        return None
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


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def annotate(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="files, folders (recursive) or globs: PubMed, JATS, BioC, PubTator, brat, JSON "
            "lines, Parquet, text; also .gz",
        ),
    ] = None,
    output: Annotated[str | None, _option("output", "--output", "-o", metavar="DIR")] = None,
    column: Annotated[list[str] | None, _option("columns", "--column", metavar="KEY=NAME")] = None,
    tasks: Annotated[str | None, _option("tasks", metavar="NAME,...")] = None,
    types: Annotated[str | None, _option("types", metavar="NAME,...")] = None,
    relations: Annotated[str | None, _option("relations", metavar="NAME,...")] = None,
    ask: Annotated[str | None, _option("ask", metavar="together|apart")] = None,
    model: Annotated[str | None, _option("model")] = None,
    adapter: Annotated[str | None, _option("adapter")] = None,
    chat: Annotated[str | None, _option("chat", metavar="template|taiyi1")] = None,
    engine: Annotated[str | None, _option("engine", metavar="vllm|http|fake")] = None,
    url: Annotated[str | None, _option("url")] = None,
    engines: Annotated[int | None, _option("engines")] = None,
    engine_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="further argument of the engine (vLLM's AsyncEngineArgs; see README for http), "
            "may be repeated",
        ),
    ] = None,
    grounding: Annotated[str | None, _option("grounding", metavar="grammar|align")] = None,
    scores: Annotated[bool | None, _option("scores")] = None,
    context_limit: Annotated[int | None, _option("context_limit")] = None,
    max_tokens: Annotated[int | None, _option("max_tokens")] = None,
    limit: Annotated[int | None, _option("limit")] = None,
    max_failed: Annotated[float | None, _option("max_failed")] = None,
    stall_minutes: Annotated[float | None, _option("stall_minutes")] = None,
    retry_failed: Annotated[bool | None, _option("retry_failed")] = None,
    trust_remote_code: Annotated[bool | None, _option("trust_remote_code")] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="YAML file of these settings; flags win over it"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the settings and the plan, write nothing")
    ] = False,
) -> None:
    """Annotate a corpus: documents of many formats in, rows of Parquet out.

    Example: taiyi-ray annotate pubmed/ --output out --types disease,chemical

    The same command goes on where an earlier one ended, however it ended.

    Exit codes: 0 done, 2 something to change, 3 too many failed documents,
    4 unfinished and 130 interrupted: run it again.
    """
    given = {
        "inputs": inputs,
        "output": output,
        "columns": _columns(column),
        "tasks": _names(tasks),
        "types": _names(types),
        "relations": _names(relations),
        "ask": ask,
        "model": model,
        "adapter": adapter,
        "chat": chat,
        "engine": engine,
        "url": url,
        "engines": engines,
        "engine_args": _engine_args(engine_arg),
        "grounding": grounding,
        "scores": scores,
        "context_limit": context_limit,
        "max_tokens": max_tokens,
        "limit": limit,
        "max_failed": max_failed,
        "stall_minutes": stall_minutes,
        "retry_failed": retry_failed,
        "trust_remote_code": trust_remote_code,
    }
    flags = {name: value for name, value in given.items() if value not in (None, [])}
    settings = load(config, flags)
    from taiyi_ray.annotate import run  # slow to import: only when it is needed

    try:
        code = run(settings, dry_run=dry_run)
    except KeyboardInterrupt:
        print("interrupted; what was done is kept, the same command goes on", file=sys.stderr)
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


@app.command()
def export(
    output: Annotated[str, typer.Argument(metavar="OUT", help="output of `taiyi-ray annotate`")],
    format_: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME", help="bioc-xml, bioc-json, pubtator, brat or jsonl"
        ),
    ],
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="folder of the files")],
    max_records_per_file: Annotated[
        int | None,
        typer.Option(min=1, help="documents a file (default: all of a source)"),
    ] = None,
) -> None:
    """Write the rows of an output as BioC, PubTator, brat or JSON lines: a file a source.

    Example: taiyi-ray export out --format bioc-json --to exported

    Documents that failed or were deleted are left out; what the format cannot hold is counted.
    """
    from taiyi_ray.annotate.export import export as write

    print(write(output, format_, to, max_records_per_file).summary())


def main() -> None:
    """Run the command line; a TaiyiError is one line on stderr and its exit code."""
    try:
        app()
    except TaiyiError as error:
        print(f"taiyi-ray: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
