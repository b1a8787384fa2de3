"""The command line `taiyi-ray`: parse, call, print. Exit codes are in docs/architecture.md."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
import yaml

from taiyi_ray import __version__
from taiyi_ray.config import AnnotateConfig, Config, EngineConfig, ServeConfig, load
from taiyi_ray.errors import ConfigError, TaiyiError
from taiyi_ray.lake.commands import app as lake_app

EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="taiyi-ray",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Annotate biomedical literature in English and Chinese, at any scale.",
)


def _option(
    name: str, *flags: str, metavar: str | None = None, of: type[EngineConfig] = AnnotateConfig
) -> Any:
    """An option of a setting, without a default of its own: --config may give what it does not."""
    field = of.model_fields[name]
    default = None if field.is_required() else field.default
    shown = ",".join(default) if isinstance(default, list) else default
    extra = f" (default: {shown})" if shown not in (None, False, {}) else ""
    return typer.Option(*flags, help=f"{field.description}{extra}", metavar=metavar)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _pairs(option: str, expected: str) -> Callable[[list[str]], dict[str, str]]:
    def read(pairs: list[str]) -> dict[str, str]:
        parts = [pair.partition("=") for pair in pairs]
        if wrong := [key for key, equals, name in parts if not (key and equals and name)]:
            raise ConfigError(f"{option} {wrong[0]}: expected {expected}")
        return {key.strip(): name.strip() for key, _, name in parts}

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
    "tasks": _names,
    "types": _names,
    "relations": _names,
    "columns": _pairs("--column", "KEY=NAME, as in text=abstract"),
    "adapters": _pairs("--adapter", "NAME=PATH, as in ner=path/to/lora"),
    "engine_args": _engine_args,
}
"""How settings are read that are written otherwise on the command line than in a file."""


def _settings(kind: type[Config], context: typer.Context, **more: Any) -> Config:
    """The settings of a command: its parameters that are called as they are, and its --config."""
    given = {
        name: _READ.get(name, lambda value: value)(value)
        for name, value in context.params.items()
        if name in kind.model_fields and value not in (None, (), [])
    }
    return load(kind, context.params["config"], given | more)


# The options that several commands share.
_Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="files, folders (recursive) or globs: PubMed, JATS, BioC, PubTator, brat, JSON "
        "lines, Parquet, text; also .gz",
    ),
]
_Column = Annotated[list[str] | None, _option("columns", "--column", metavar="KEY=NAME")]
_Tasks = Annotated[str | None, _option("tasks", metavar="NAME,...")]
_TaskFile = Annotated[str | None, _option("task_file", metavar="FILE")]
_Types = Annotated[str | None, _option("types", metavar="NAME,...")]
_Relations = Annotated[str | None, _option("relations", metavar="NAME,...")]
_Ask = Annotated[str | None, _option("ask", metavar="together|apart")]
_Model = Annotated[str | None, _option("model")]
_Adapter = Annotated[str | None, _option("adapter")]
_Chat = Annotated[str | None, _option("chat", metavar="template|taiyi1")]
_Grounding = Annotated[str | None, _option("grounding", metavar="grammar|align")]
_Scores = Annotated[bool | None, _option("scores")]
_ContextLimit = Annotated[int | None, _option("context_limit")]
_MaxTokens = Annotated[int | None, _option("max_tokens")]
_Limit = Annotated[int | None, _option("limit")]
_Gpu = Annotated[str | None, _option("gpu", metavar="KIND")]
_Price = Annotated[float | None, _option("price")]
_TrustRemoteCode = Annotated[bool | None, _option("trust_remote_code")]
_EngineArg = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-arg",
        metavar="NAME=VALUE",
        help="further argument of the engine (vLLM's AsyncEngineArgs; docs/annotate.md has "
        "those of http), may be repeated",
    ),
]
_Config = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="YAML file of these settings; flags win over it"),
]


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def annotate(
    context: typer.Context,
    inputs: _Inputs = None,
    output: Annotated[str | None, _option("output", "--output", "-o", metavar="DIR")] = None,
    columns: _Column = None,
    tasks: _Tasks = None,
    task_file: _TaskFile = None,
    types: _Types = None,
    relations: _Relations = None,
    ask: _Ask = None,
    model: _Model = None,
    adapter: _Adapter = None,
    chat: _Chat = None,
    engine: Annotated[str | None, _option("engine", metavar="vllm|http|fake")] = None,
    url: Annotated[str | None, _option("url")] = None,
    engines: Annotated[str | None, _option("engines", metavar="N|MIN:MAX")] = None,
    gpu: _Gpu = None,
    engine_args: _EngineArg = None,
    grounding: _Grounding = None,
    scores: _Scores = None,
    context_limit: _ContextLimit = None,
    max_tokens: _MaxTokens = None,
    limit: _Limit = None,
    max_failed: Annotated[float | None, _option("max_failed")] = None,
    stall_minutes: Annotated[float | None, _option("stall_minutes")] = None,
    retry_failed: Annotated[bool | None, _option("retry_failed")] = None,
    price: _Price = None,
    trust_remote_code: _TrustRemoteCode = None,
    config: _Config = None,
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
    settings = _settings(AnnotateConfig, context)
    from taiyi_ray.job import run  # slow to import: only when it is needed

    try:
        code = run(settings, dry_run=dry_run)
    except KeyboardInterrupt:
        print("interrupted; what was done is kept, the same command goes on", file=sys.stderr)
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


@app.command()
def plan(
    context: typer.Context,
    inputs: _Inputs = None,
    columns: _Column = None,
    tasks: _Tasks = None,
    task_file: _TaskFile = None,
    types: _Types = None,
    relations: _Relations = None,
    ask: _Ask = None,
    model: _Model = None,
    adapter: _Adapter = None,
    chat: _Chat = None,
    context_limit: _ContextLimit = None,
    max_tokens: _MaxTokens = None,
    limit: _Limit = None,
    gpu: _Gpu = None,
    price: _Price = None,
    measured: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="FILE", help="run.json of a like run; may be repeated"),
    ] = None,
    trust_remote_code: _TrustRemoteCode = None,
    config: _Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="as one JSON object")] = False,
) -> None:
    """Estimate what a corpus takes, before it runs: documents, tokens, engine-hours, cost.

    It reads a sample with the model's own tokenizer; no engine starts. Rates and the length of
    answers come from runs (--run), else from assumptions that the output names; the rate of a
    kind of GPU (--gpu) is such a one.

    Example: taiyi-ray plan pubmed/ --model path/to/model --run out/run.json --price 1.86

    Exit codes: 0 shown, 2 something to change, 4 the store does not answer: run it again.
    """
    import json

    from rich.console import Console

    # The settings want an output; nothing is written.
    settings = _settings(AnnotateConfig, context, output="-")
    from taiyi_ray.job import estimate  # slow to import: only when it is needed

    found = estimate.estimate(settings, runs=measured or ())
    if as_json:
        print(json.dumps(found.as_dict(), ensure_ascii=False))
        return
    console = Console(highlight=False, markup=False)
    console.print(
        f"{found.files:,} files, {found.bytes / 1e6:,.1f} MB; {found.scanned:,} of them scanned, "
        f"{found.sampled:,} documents asked about"
    )
    console.print(estimate.table(found))
    for line in found.basis:
        console.print(f"- {line}")


@app.command()
def status(
    output: Annotated[str, typer.Argument(metavar="OUT", help="the --output of the job")],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="show it until all is done")] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="between two looks of --watch")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Show how far a job is: done, failed by kind, left, rate, time left.

    It reads what the job wrote: the job may run, anywhere, or be dead. No cluster is asked.

    Example: taiyi-ray status s3://bucket/out --watch

    Exit codes: 0 shown (of a job that does not exist yet, too), 2 something to change,
    4 the store does not answer: run it again, 130 interrupted.
    """
    import json

    from rich.console import Console

    from taiyi_ray.job import status as asked  # slow to import: only when it is needed

    console = Console(highlight=False, markup=False)
    looks = asked.watch(output, every) if watch else [asked.Progress(output).status()]
    try:
        for found in looks:
            if as_json:
                print(json.dumps(found.as_dict(), ensure_ascii=False), flush=True)
                continue
            if watch and console.is_terminal:
                console.clear()
            console.print(asked.table(found))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


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

    Exit codes: 0 written, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray.job.export import export as write

    print(write(output, format_, to, max_records_per_file).summary())


def _serving(name: str, *flags: str, metavar: str | None = None) -> Any:
    return _option(name, *flags, metavar=metavar, of=ServeConfig)


@app.command()
def serve(
    context: typer.Context,
    model: _Model = None,
    name: Annotated[str | None, _serving("name")] = None,
    adapters: Annotated[
        list[str] | None, _serving("adapters", "--adapter", metavar="NAME=PATH")
    ] = None,
    host: Annotated[str | None, _serving("host")] = None,
    port: Annotated[int | None, _serving("port")] = None,
    api_keys_file: Annotated[str | None, _serving("api_keys_file", metavar="FILE")] = None,
    new_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="add a key to --api-keys-file, print it, and end"),
    ] = None,
    without_keys: Annotated[bool | None, _serving("without_keys", "--without-keys")] = None,
    batches: Annotated[str | None, _serving("batches", metavar="DIR")] = None,
    chat: _Chat = None,
    engine: Annotated[str | None, _serving("engine", metavar="vllm|fake")] = None,
    engines: Annotated[str | None, _serving("engines", metavar="N|MIN:MAX")] = None,
    gpu: _Gpu = None,
    engine_args: _EngineArg = None,
    grounding: _Grounding = None,
    scores: _Scores = None,
    context_limit: _ContextLimit = None,
    max_tokens: _MaxTokens = None,
    max_documents: Annotated[int | None, _serving("max_documents")] = None,
    max_megabytes: Annotated[int | None, _serving("max_megabytes")] = None,
    max_characters: Annotated[int | None, _serving("max_characters")] = None,
    max_in_flight: Annotated[int | None, _serving("max_in_flight")] = None,
    time_limit: Annotated[float | None, _serving("time_limit", metavar="SECONDS")] = None,
    trust_remote_code: _TrustRemoteCode = None,
    config: _Config = None,
) -> None:
    """Serve annotations online: a page, task routes, and OpenAI's routes on the same model.

    Example: taiyi-ray serve --model path/to/model --adapter ner=path/to/lora

    Then http://127.0.0.1:8000/ is the page, and any OpenAI client works with the address
    http://127.0.0.1:8000/v1. Nothing else can reach it unless --host says so, which wants keys.

    Exit codes: 0 ended by Ctrl-C or SIGTERM, 2 something to change, 4 the engine did not start,
    130 interrupted before it was ready.
    """
    settings = _settings(ServeConfig, context)
    if new_key is not None:
        from taiyi_ray.serve.keys import add_key

        if settings.api_keys_file is None:
            raise ConfigError("--new-key: needs --api-keys-file, where its digest is kept")
        print(add_key(settings.api_keys_file, new_key))
        print("this is shown once: only its digest is kept", file=sys.stderr)
        return
    from taiyi_ray.serve.app import run  # slow to import: only when it is needed

    try:
        code = run(settings)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


app.add_typer(lake_app, name="lake")


def main() -> None:
    """Run the command line; a TaiyiError is one line on stderr and its exit code."""
    try:
        app()
    except TaiyiError as error:
        print(f"taiyi-ray: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
