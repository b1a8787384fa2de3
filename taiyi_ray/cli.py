"""The command line `taiyi-ray`: parse, call, print. Exit codes are in docs/architecture.md."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
import yaml

from taiyi_ray import __version__
from taiyi_ray.config import (
    CLIENTS,
    RENAMED,
    AnnotateConfig,
    AnySettings,
    EngineName,
    EvaluateConfig,
    InstructConfig,
    ServeConfig,
    Settings,
    TrainConfig,
    load,
)
from taiyi_ray.errors import ConfigError, TaiyiError
from taiyi_ray.lake.commands import app as lake_app

EXIT_INTERRUPTED = 130

_ANNOTATE, _TRAIN, _EVALUATE = "Annotate", "Data and training", "Evaluate"
_LAKE = "The lake"
"""The panels of `taiyi-ray --help` in which commands stand."""

app = typer.Typer(
    name="taiyi-ray",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Annotate biomedical literature in English and Chinese, at any scale.",
)


def _option(
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
    "benchmarks": _names,
    "tasks": _names,
    "types": _names,
    "relations": _names,
    "columns": _pairs("--column", "KEY=NAME, as in text=abstract"),
    "adapters": _pairs("--adapter", "NAME=PATH, as in ner=path/to/lora"),
    "engine_args": _engine_args,
    "datasets": _names,
    "held_out": _names,
    "rates": _pairs("--rate", "NAME=N, as in ner=1.3 or bc5cdr/ner=2"),
}
"""Reads the settings that the command line writes in another form than a file does."""


def _settings(kind: type[AnySettings], context: typer.Context, **more: Any) -> AnySettings:
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
_Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help=f"{AnnotateConfig.model_fields['inputs'].description}; PubMed, JATS, BioC, PubTator, "
        "brat, JSON lines, Parquet or plain text, also compressed (.gz)",
    ),
]
_Column = Annotated[list[str] | None, _option("columns", "--column", metavar="KEY=NAME")]
_Tasks = Annotated[str | None, _option("tasks", metavar="NAME,...")]
_TaskFile = Annotated[str | None, _option("task_file", metavar="FILE")]
_Types = Annotated[str | None, _option("types", metavar="NAME,...")]
_Relations = Annotated[str | None, _option("relations", metavar="NAME,...")]
_Ask = Annotated[str | None, _option("ask")]
_Model = Annotated[str | None, _option("model")]
_Adapter = Annotated[str | None, _option("adapter")]
_Chat = Annotated[str | None, _option("chat")]
_Wording = Annotated[str | None, _option("wording", metavar="short|N")]
_Grounding = Annotated[str | None, _option("grounding")]
_Scores = Annotated[bool | None, _option("scores")]
_ContextLength = Annotated[int | None, _option("context_length")]
_ContextLimit = Annotated[int | None, typer.Option(hidden=True)]  # its old name
_MaxTokens = Annotated[int | None, _option("max_tokens")]
_Limit = Annotated[int | None, _option("limit")]
_Reuse = Annotated[str | None, _option("reuse", metavar="DIR")]
_Gpu = Annotated[str | None, _option("gpu", metavar="KIND")]
_Price = Annotated[float | None, _option("price")]
_TrustRemoteCode = Annotated[bool | None, _option("trust_remote_code")]
_EngineArg = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-arg",
        metavar="NAME=VALUE",
        help="further argument of the engine; may be repeated. The engine vllm takes those of "
        "vLLM's AsyncEngineArgs; docs/annotate.md lists those of http",
    ),
]
_Config = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="YAML file with these settings; an option given here wins over it"
    ),
]


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command(rich_help_panel=_ANNOTATE)
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
    engine: Annotated[str | None, _option("engine")] = None,
    url: Annotated[str | None, _option("url")] = None,
    engines: Annotated[str | None, _option("engines", metavar="N|MIN:MAX")] = None,
    gpu: _Gpu = None,
    engine_args: _EngineArg = None,
    wording: _Wording = None,
    grounding: _Grounding = None,
    scores: _Scores = None,
    context_length: _ContextLength = None,
    context_limit: _ContextLimit = None,
    max_tokens: _MaxTokens = None,
    limit: _Limit = None,
    max_failed: Annotated[float | None, _option("max_failed")] = None,
    stall_minutes: Annotated[float | None, _option("stall_minutes")] = None,
    retry_failed: Annotated[bool | None, _option("retry_failed")] = None,
    reuse: _Reuse = None,
    price: _Price = None,
    trust_remote_code: _TrustRemoteCode = None,
    config: _Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the settings and the plan, and write nothing")
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


@app.command(rich_help_panel=_ANNOTATE)
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
    wording: _Wording = None,
    engine_args: _EngineArg = None,
    grounding: _Grounding = None,
    scores: _Scores = None,
    context_length: _ContextLength = None,
    context_limit: _ContextLimit = None,
    max_tokens: _MaxTokens = None,
    limit: _Limit = None,
    reuse: _Reuse = None,
    gpu: _Gpu = None,
    price: _Price = None,
    measured: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            metavar="FILE",
            help="run.json of a similar run, for its rates; may be repeated",
        ),
    ] = None,
    trust_remote_code: _TrustRemoteCode = None,
    config: _Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Estimate what a corpus takes, before it runs: documents, tokens, engine-hours, cost.

    It reads a sample with the model's own tokenizer; no engine starts. Rates and the length of
    answers come from runs (--run), or else from assumptions, which the output names; the rate of
    a kind of GPU (--gpu) is such an assumption. With --reuse it counts what need not be asked.

    Example: taiyi-ray plan pubmed/ --model path/to/model --run out/run.json --price 1.86

    Exit codes: 0 shown, 2 something to change, 4 the store does not answer: run it again.
    """
    import json

    from rich.console import Console

    # These settings need an output, although nothing is written.
    settings = _settings(AnnotateConfig, context, output="-")
    from taiyi_ray.job import estimate  # slow to import: only when it is needed

    estimated = estimate.estimate(settings, runs=measured or ())
    if as_json:
        print(json.dumps(estimated.as_dict(), ensure_ascii=False))
        return
    console = Console(highlight=False, markup=False)
    console.print(
        f"{estimated.files:,} files, {estimated.bytes / 1e6:,.1f} MB; {estimated.scanned:,} of "
        f"them scanned, {estimated.sampled:,} documents asked about"
    )
    console.print(estimate.table(estimated))
    for line in estimated.basis:
        console.print(f"- {line}")


@app.command(rich_help_panel=_ANNOTATE)
def status(
    output: Annotated[str, typer.Argument(metavar="OUT", help="the --output of the run")],
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="show it again until all is done")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="seconds between two looks of --watch")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object a line")] = False,
) -> None:
    """Show how far a run is: done, left, rate, time left.

    For annotations, evaluations, trainings and builds of instructions. It reads what the run wrote
    and asks no cluster: the run may work anywhere, or have ended.

    Example: taiyi-ray status s3://bucket/out --watch

    Exit codes: 0 shown (also when the run does not exist yet), 2 something to change,
    4 the store does not answer: run it again, 130 interrupted.
    """
    import json

    from rich.console import Console

    from taiyi_ray import states, storage
    from taiyi_ray.instruct import status as of_build  # slow to import: only when it is needed
    from taiyi_ray.job import status as of_job
    from taiyi_ray.lake import commits
    from taiyi_ray.train import status as of_training

    job, build = of_job.Progress(output), of_build.BuildLook(output)
    training = of_training.TrainingLook(output)

    def look() -> of_job.Status | of_build.BuildStatus | of_training.TrainingStatus:
        found: of_job.Status | of_build.BuildStatus | of_training.TrainingStatus
        for found in (look.status() for look in (job, build, training)):
            if found.state != "absent":
                return found
        if commits.numbers(storage.absolute(output)):
            raise ConfigError(
                f"{output}: is a lake; `taiyi-ray lake show {output}` shows what it holds"
            )
        return found

    console = Console(highlight=False, markup=False)
    try:
        for found in states.watch(look, every) if watch else [look()]:
            if as_json:
                print(json.dumps(found.as_dict(), ensure_ascii=False), flush=True)
                continue
            if watch and console.is_terminal:
                console.clear()
            match found:
                case of_job.Status():
                    console.print(of_job.table(found))
                case of_build.BuildStatus():
                    console.print(of_build.table(found))
                case of_training.TrainingStatus():
                    console.print(of_training.table(found))
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


@app.command(rich_help_panel=_ANNOTATE)
def export(
    output: Annotated[str, typer.Argument(metavar="OUT", help="output of `taiyi-ray annotate`")],
    format_: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME", help="bioc-xml, bioc-json, pubtator, brat, jsonl or conll"
        ),
    ],
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="folder of the files")],
    max_records_per_file: Annotated[
        int | None,
        typer.Option(min=1, help="most documents of one file (default: all of a source)"),
    ] = None,
) -> None:
    """Write the rows of an output as BioC, PubTator, brat, JSON lines or CoNLL, a file a source.

    Example: taiyi-ray export out --format bioc-json --to exported

    Documents that failed or were deleted are left out; what the format cannot hold is counted.

    Exit codes: 0 written, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray.job.export import export as write

    print(write(output, format_, to, max_records_per_file).summary())


_OWN_ENGINES = [name for name in get_args(EngineName) if name not in CLIENTS]


def _building(name: str, *flags: str, metavar: str | None = None) -> Any:
    return _option(name, *flags, metavar=metavar, of=InstructConfig)


@app.command("build-instructions", rich_help_panel=_TRAIN)
def build_instructions(
    context: typer.Context,
    data_root: Annotated[str | None, _building("data_root", metavar="DIR")] = None,
    output: Annotated[str | None, _building("output", "--output", "-o", metavar="DIR")] = None,
    datasets: Annotated[str | None, _building("datasets", metavar="NAME,...")] = None,
    accept_terms: Annotated[list[str] | None, _building("accept_terms", metavar="NAME")] = None,
    tasks: Annotated[str | None, _building("tasks", metavar="NAME,...")] = None,
    task_file: Annotated[str | None, _building("task_file", metavar="FILE")] = None,
    ask: Annotated[str | None, _building("ask", metavar="mixed|together|apart")] = None,
    rates: Annotated[list[str] | None, _building("rates", "--rate", metavar="NAME=N")] = None,
    most: Annotated[int | None, _building("most")] = None,
    negatives: Annotated[float | None, _building("negatives")] = None,
    wordings: Annotated[str | None, _building("wordings", metavar="all|short")] = None,
    document_first: Annotated[float | None, _building("document_first")] = None,
    characters: Annotated[int | None, _building("characters")] = None,
    overlap: Annotated[float | None, _building("overlap")] = None,
    held_out: Annotated[str | None, _building("held_out", metavar="NAME,...")] = None,
    dev_documents: Annotated[int | None, _building("dev_documents")] = None,
    train_on_dev: Annotated[bool | None, _building("train_on_dev", "--train-on-dev")] = None,
    seed: Annotated[int | None, _building("seed")] = None,
    limit: Annotated[int | None, _building("limit")] = None,
    workers: Annotated[int | None, _building("workers")] = None,
    config: _Config = None,
) -> None:
    """Build instruction data from the catalogue's datasets: chats in Parquet, for both stages.

    Example: taiyi-ray build-instructions --data-root corpora --output instructions

    The same command goes on where an earlier one ended. Documents that occur in a test set of the
    benchmarks are left out, and so are datasets whose terms do not clearly allow training.

    Exit codes: 0 done, 2 something to change, 4 unfinished and 130 interrupted: run it again.
    """
    settings = _settings(InstructConfig, context)
    from taiyi_ray.instruct import run  # slow to import: only when it is needed

    try:
        code = run(settings)
    except KeyboardInterrupt:
        print("interrupted; what was done is kept, the same command goes on", file=sys.stderr)
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


def _serving(name: str, *flags: str, metavar: str | None = None) -> Any:
    return _option(name, *flags, metavar=metavar, of=ServeConfig)


@app.command(rich_help_panel=_ANNOTATE)
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
    engine: Annotated[str | None, _serving("engine", metavar="|".join(_OWN_ENGINES))] = None,
    engines: Annotated[str | None, _serving("engines", metavar="N|MIN:MAX")] = None,
    gpu: _Gpu = None,
    engine_args: _EngineArg = None,
    wording: _Wording = None,
    grounding: _Grounding = None,
    scores: _Scores = None,
    context_length: _ContextLength = None,
    context_limit: _ContextLimit = None,
    max_tokens: _MaxTokens = None,
    max_documents: Annotated[int | None, _serving("max_documents")] = None,
    max_megabytes: Annotated[int | None, _serving("max_megabytes")] = None,
    max_characters: Annotated[int | None, _serving("max_characters")] = None,
    document_slots: Annotated[int | None, _serving("document_slots")] = None,
    max_in_flight: Annotated[int | None, typer.Option(hidden=True)] = None,  # its old name
    time_limit: Annotated[float | None, _serving("time_limit", metavar="SECONDS")] = None,
    trust_remote_code: _TrustRemoteCode = None,
    config: _Config = None,
) -> None:
    """Serve annotations online: a page, task routes, and OpenAI's routes on the same model.

    Example: taiyi-ray serve --model path/to/model --adapter ner=path/to/lora

    Then http://127.0.0.1:8000/ is the page, and any OpenAI client works with the address
    http://127.0.0.1:8000/v1. Only programs on this machine can reach it; --host opens it to other
    machines, and needs keys.

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


def _evaluating(name: str, *flags: str, metavar: str | None = None) -> Any:
    return _option(name, *flags, metavar=metavar, of=EvaluateConfig)


@app.command(rich_help_panel=_EVALUATE)
def evaluate(
    context: typer.Context,
    benchmarks: Annotated[str | None, _evaluating("benchmarks", metavar="NAME,...")] = None,
    data_root: Annotated[str | None, _evaluating("data_root", metavar="DIR")] = None,
    output: Annotated[str | None, _evaluating("output", "--output", "-o", metavar="DIR")] = None,
    split: Annotated[str | None, _evaluating("split")] = None,
    limit: Annotated[int | None, _evaluating("limit")] = None,
    model: _Model = None,
    adapter: _Adapter = None,
    chat: _Chat = None,
    engine: Annotated[str | None, _evaluating("engine")] = None,
    url: Annotated[str | None, _evaluating("url")] = None,
    engines: Annotated[str | None, _evaluating("engines", metavar="N|MIN:MAX")] = None,
    gpu: _Gpu = None,
    engine_args: _EngineArg = None,
    grounding: _Grounding = None,
    ask: Annotated[str | None, _evaluating("ask")] = None,
    wording: _Wording = None,
    shots: Annotated[int | None, _evaluating("shots")] = None,
    shots_by: Annotated[str | None, _evaluating("shots_by")] = None,
    seed: Annotated[int | None, _evaluating("seed")] = None,
    scores: _Scores = None,
    thresholds: Annotated[str | None, _evaluating("thresholds", metavar="OUT")] = None,
    context_length: _ContextLength = None,
    context_limit: _ContextLimit = None,
    max_tokens: _MaxTokens = None,
    max_failed: Annotated[float | None, _evaluating("max_failed")] = None,
    stall_minutes: Annotated[float | None, _evaluating("stall_minutes")] = None,
    retry_failed: Annotated[bool | None, _evaluating("retry_failed")] = None,
    trust_remote_code: _TrustRemoteCode = None,
    config: _Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the settings and the plan, and write nothing")
    ] = False,
) -> None:
    """Measure a model on the benchmarks, beside published numbers.

    Example: taiyi-ray evaluate --benchmarks bc5cdr-chemical --data-root corpora --output scores

    An evaluation is a corpus job: the same command goes on where an earlier one ended, and
    benchmarks can be added to an output.

    Exit codes: 0 done, 2 something to change, 3 too many failed documents,
    4 unfinished and 130 interrupted: run it again.
    """
    settings = _settings(EvaluateConfig, context)
    from taiyi_ray.evaluate import run  # slow to import: only when it is needed

    try:
        code = run(settings, dry_run=dry_run)
    except KeyboardInterrupt:
        print("interrupted; what was done is kept, the same command goes on", file=sys.stderr)
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


@app.command(rich_help_panel=_EVALUATE)
def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="outputs of `taiyi-ray evaluate`")
    ],
    by_type: Annotated[
        bool, typer.Option("--by-type", help="compare each type by itself, too")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="also write it as Markdown, HTML or Parquet, by ending"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of the draws of the intervals")] = 0,
) -> None:
    """Lay evaluations side by side, and say which differences to the first one are real.

    Example: taiyi-ray compare scores/base scores/tuned --by-type --to scores.md

    Differences are judged by a paired bootstrap over the documents that both runs scored. The
    answers to a case study stand side by side, without a score.

    Exit codes: 0 shown, 2 something to change, 4 the store does not answer: run it again.
    """
    from rich.console import Console

    from taiyi_ray.evaluate import cases
    from taiyi_ray.evaluate import compare as compared

    lines = compared.compare(runs, by_type=by_type, seed=seed)
    if to is not None:
        compared.write(lines, to)
    console = Console(highlight=False, markup=False)
    if lines:
        console.print(compared.table(lines))
    if (answered := cases.table(runs)) is not None:
        console.print(answered)


_datasets = typer.Typer(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
app.add_typer(_datasets, name="datasets", rich_help_panel=_TRAIN)

_DataRoot = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="folder below which your corpora lie, or s3://bucket/prefix"),
]
_Dataset = Annotated[str, typer.Argument(metavar="NAME", help="a dataset of the catalogue")]


@_datasets.callback()
def datasets(
    context: typer.Context,
    data_root: _DataRoot = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="only with this task")] = None,
    language: Annotated[
        str | None, typer.Option(metavar="en|zh", help="only in this language")
    ] = None,
    present: Annotated[
        bool, typer.Option("--present", help="only what is below --data-root")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="as one JSON list")] = False,
) -> None:
    """List the datasets of the catalogue; `show` and `check` look at one.

    Example: taiyi-ray datasets --task ner --language zh

    With --data-root the table says which splits are there.

    Exit codes: 0 listed, 2 something to change, 4 the store does not answer: run it again.
    """
    if (command := context.invoked_subcommand) is not None:
        if given := [name for name, value in context.params.items() if value not in (None, False)]:
            option = given[0].replace("as_json", "json").replace("_", "-")
            raise ConfigError(
                f"--{option}: options of `{command}` stand behind it, as in "
                f"`taiyi-ray datasets {command} NAME --data-root DIR`"
            )
        return
    import json

    from rich.console import Console

    from taiyi_ray import catalogue
    from taiyi_ray.catalogue import views

    root = catalogue.DataRoot(data_root) if data_root is not None else None
    found = views.chosen(
        catalogue.entries(), task=task, language=language, root=root, present=present
    )
    if as_json:
        print(json.dumps([views.as_dict(entry, root) for entry in found], ensure_ascii=False))
        return
    console = Console(highlight=False, markup=False)
    console.print(views.table(found, root))
    read = sum(entry.verified for entry in found)
    console.print(f"{len(found)} datasets, {read} of them read here")


@_datasets.command()
def show(name: _Dataset, data_root: _DataRoot = None) -> None:
    """Show what the catalogue says of a dataset and, with --data-root, one of its records.

    Example: taiyi-ray datasets show bc5cdr --data-root corpora

    Exit codes: 0 shown, 2 something to change, 4 the store does not answer: run it again.
    """
    from rich.console import Console

    from taiyi_ray import catalogue
    from taiyi_ray.catalogue import views

    root = catalogue.DataRoot(data_root) if data_root is not None else None
    Console(highlight=False, markup=False).print(views.page(catalogue.entry(name), root))


@_datasets.command()
def check(
    name: _Dataset,
    data_root: Annotated[
        str,
        typer.Option(metavar="DIR", help="folder below which your corpora lie, or s3://..."),
    ],
) -> None:
    """Read all of a dataset that is below --data-root, and compare it with the catalogue.

    Example: taiyi-ray datasets check bc5cdr --data-root corpora

    Checked are the format, the types of the gold, its offsets, and the numbers of records and of
    annotations.

    Exit codes: 0 all is as expected, 2 something to change, 4 the store does not answer.
    """
    from rich.console import Console

    from taiyi_ray import catalogue
    from taiyi_ray.catalogue import views

    checked = catalogue.check(catalogue.entry(name), data_root)
    console = Console(highlight=False, markup=False)
    console.print(views.checks_table(checked))
    console.print(views.types_table(checked))
    if faults := [fault for one in checked for fault in one.faults]:
        raise ConfigError(f"{name}: {'; '.join(faults)}")


app.add_typer(lake_app, name="lake", rich_help_panel=_LAKE)


def _training(name: str, *flags: str, metavar: str | None = None) -> Any:
    return _option(name, *flags, metavar=metavar, of=TrainConfig)


@app.command(rich_help_panel=_TRAIN)
def train(
    context: typer.Context,
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG",
            help="YAML file with these settings; an option given here wins over it",
        ),
    ] = None,
    data: Annotated[str | None, _training("data", metavar="DIR")] = None,
    output: Annotated[str | None, _training("output", "--output", "-o", metavar="DIR")] = None,
    preset: Annotated[str | None, _training("preset")] = None,
    model: Annotated[str | None, _training("model")] = None,
    adapter: Annotated[str | None, _training("adapter")] = None,
    chat: Annotated[str | None, _training("chat")] = None,
    stages: Annotated[str | None, _training("stages")] = None,
    method: Annotated[str | None, _training("method")] = None,
    workers: Annotated[str | None, _training("workers", metavar="N|MIN:MAX")] = None,
    gpu: Annotated[str | None, _training("gpu", metavar="KIND")] = None,
    seed: Annotated[int | None, _training("seed")] = None,
    batch: Annotated[int | None, _training("batch")] = None,
    row_tokens: Annotated[int | None, _training("row_tokens")] = None,
    max_steps: Annotated[int | None, _training("max_steps")] = None,
    learning_rate: Annotated[float | None, _training("learning_rate")] = None,
    rank: Annotated[int | None, _training("rank")] = None,
    precision: Annotated[str | None, _training("precision")] = None,
    activation_checkpointing: Annotated[
        bool | None, _training("activation_checkpointing", "--activation-checkpointing")
    ] = None,
    fsdp: Annotated[bool | None, _training("fsdp", "--fsdp")] = None,
    prefix_sharing: Annotated[bool | None, _training("prefix_sharing")] = None,
    checkpoint_every: Annotated[int | None, _training("checkpoint_every")] = None,
    keep: Annotated[int | None, _training("keep")] = None,
    eval_every: Annotated[int | None, _training("eval_every")] = None,
    price: Annotated[float | None, _training("price")] = None,
    stall_minutes: Annotated[float | None, _training("stall_minutes")] = None,
    trust_remote_code: Annotated[bool | None, _training("trust_remote_code")] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="print steps, tokens, memory, hours and cost by an estimate, and write nothing",
        ),
    ] = False,
) -> None:
    """Fine-tune a model on instruction data, in stages, into an adapter or a whole model.

    The file CONFIG may hold more settings than there are options: those of a preset's file, which
    docs/training.md shows.

    Example: taiyi-ray train --data instructions --output trained --max-steps 100

    The same command goes on where an earlier one ended, on any number of workers.

    Exit codes: 0 done, 2 something to change, 4 unfinished and 130 interrupted: run it again.
    """
    settings = _settings(TrainConfig, context)
    from taiyi_ray.train import run  # slow to import: only when it is needed

    try:
        code = run(settings, dry_run=dry_run)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


@app.command(rich_help_panel=_TRAIN)
def merge(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="the base model of the adapter")],
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="LoRA folder, local or s3://")],
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="folder of the merged model")],
) -> None:
    """Merge an adapter into its base model, in bfloat16: a plain model that needs no peft.

    An adapter that was trained on a base of 4 bits is merged into the base as it is given here.

    Example: taiyi-ray merge smollm2-135m-instruct trained/adapter --to merged

    Exit codes: 0 written, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray import models  # slow to import: only when it is needed

    print(models.write_merged(model, adapter, to))


@app.command(rich_help_panel=_TRAIN)
def convert(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="a model such as Taiyi 1")],
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="folder of the converted model")],
) -> None:
    """Write a model of Qwen-7B's own architecture, such as Taiyi 1, as one that vLLM knows.

    What comes out is a Qwen2 that computes the same, with its tokenizer. It is asked with --chat
    taiyi1.

    Example: taiyi-ray convert DUTIR-BioNLP/Taiyi-LLM --to taiyi1

    Exit codes: 0 written, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray import models  # slow to import: only when it is needed

    print(models.write_converted(model, to))


def main() -> None:
    """Run the command line; a TaiyiError is one line on stderr and its exit code."""
    try:
        app()
    except TaiyiError as error:
        print(f"taiyi-ray: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
