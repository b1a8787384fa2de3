"""The commands that annotate: annotate, plan, status, export, serve."""

from __future__ import annotations

import sys
from typing import Annotated, Any, get_args

import typer

from taiyi_ray.cli.options import (
    EXIT_INTERRUPTED,
    Adapter,
    Ask,
    Chat,
    Column,
    Config,
    ContextLength,
    ContextLimit,
    EngineArg,
    Gpu,
    Grounding,
    Inputs,
    Limit,
    MaxTokens,
    Model,
    Price,
    Relations,
    Reuse,
    Scores,
    TaskFile,
    Tasks,
    TrustRemoteCode,
    Types,
    Wording,
    option,
    settings_of,
)
from taiyi_ray.config import CLIENTS, AnnotateConfig, EngineName, ServeConfig
from taiyi_ray.errors import ConfigError

app = typer.Typer()

_PANEL = "Annotate"


@app.command(rich_help_panel=_PANEL)
def annotate(
    context: typer.Context,
    inputs: Inputs = None,
    output: Annotated[str | None, option("output", "--output", "-o", metavar="DIR")] = None,
    columns: Column = None,
    tasks: Tasks = None,
    task_file: TaskFile = None,
    types: Types = None,
    relations: Relations = None,
    ask: Ask = None,
    model: Model = None,
    adapter: Adapter = None,
    chat: Chat = None,
    engine: Annotated[str | None, option("engine")] = None,
    url: Annotated[str | None, option("url")] = None,
    engines: Annotated[str | None, option("engines", metavar="N|MIN:MAX")] = None,
    gpu: Gpu = None,
    engine_args: EngineArg = None,
    wording: Wording = None,
    grounding: Grounding = None,
    scores: Scores = None,
    context_length: ContextLength = None,
    context_limit: ContextLimit = None,
    max_tokens: MaxTokens = None,
    limit: Limit = None,
    max_failed: Annotated[float | None, option("max_failed")] = None,
    stall_minutes: Annotated[float | None, option("stall_minutes")] = None,
    retry_failed: Annotated[bool | None, option("retry_failed")] = None,
    reuse: Reuse = None,
    price: Price = None,
    trust_remote_code: TrustRemoteCode = None,
    config: Config = None,
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
    settings = settings_of(AnnotateConfig, context)
    from taiyi_ray.job import run  # slow to import: only when it is needed

    try:
        code = run(settings, dry_run=dry_run)
    except KeyboardInterrupt:
        print("interrupted; what was done is kept, the same command goes on", file=sys.stderr)
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


@app.command(rich_help_panel=_PANEL)
def plan(
    context: typer.Context,
    inputs: Inputs = None,
    columns: Column = None,
    tasks: Tasks = None,
    task_file: TaskFile = None,
    types: Types = None,
    relations: Relations = None,
    ask: Ask = None,
    model: Model = None,
    adapter: Adapter = None,
    chat: Chat = None,
    wording: Wording = None,
    engine_args: EngineArg = None,
    grounding: Grounding = None,
    scores: Scores = None,
    context_length: ContextLength = None,
    context_limit: ContextLimit = None,
    max_tokens: MaxTokens = None,
    limit: Limit = None,
    reuse: Reuse = None,
    gpu: Gpu = None,
    price: Price = None,
    measured: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            metavar="FILE",
            help="run.json of a similar run, for the length of its answers, and for its rate if it "
            "ran on the same kind of GPU; may be repeated",
        ),
    ] = None,
    trust_remote_code: TrustRemoteCode = None,
    config: Config = None,
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
    settings = settings_of(AnnotateConfig, context, output="-")
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


@app.command(rich_help_panel=_PANEL)
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


@app.command(rich_help_panel=_PANEL)
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


def _serving(name: str, *flags: str, metavar: str | None = None) -> Any:
    return option(name, *flags, metavar=metavar, of=ServeConfig)


@app.command(rich_help_panel=_PANEL)
def serve(
    context: typer.Context,
    model: Model = None,
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
    chat: Chat = None,
    engine: Annotated[str | None, _serving("engine", metavar="|".join(_OWN_ENGINES))] = None,
    engines: Annotated[str | None, _serving("engines", metavar="N|MIN:MAX")] = None,
    gpu: Gpu = None,
    engine_args: EngineArg = None,
    wording: Wording = None,
    grounding: Grounding = None,
    scores: Scores = None,
    context_length: ContextLength = None,
    context_limit: ContextLimit = None,
    max_tokens: MaxTokens = None,
    max_documents: Annotated[int | None, _serving("max_documents")] = None,
    max_megabytes: Annotated[int | None, _serving("max_megabytes")] = None,
    max_characters: Annotated[int | None, _serving("max_characters")] = None,
    document_slots: Annotated[int | None, _serving("document_slots")] = None,
    max_in_flight: Annotated[int | None, typer.Option(hidden=True)] = None,  # its old name
    time_limit: Annotated[float | None, _serving("time_limit", metavar="SECONDS")] = None,
    trust_remote_code: TrustRemoteCode = None,
    config: Config = None,
) -> None:
    """Serve annotations online: a page, task routes, and OpenAI's routes on the same model.

    Example: taiyi-ray serve --model path/to/model --adapter ner=path/to/lora

    Then http://127.0.0.1:8000/ is the page, and any OpenAI client works with the address
    http://127.0.0.1:8000/v1. Only programs on this machine can reach it; --host opens it to other
    machines, and needs keys.

    Exit codes: 0 ended by Ctrl-C or SIGTERM, 2 something to change, 4 the engine did not start,
    130 interrupted before it was ready.
    """
    settings = settings_of(ServeConfig, context)
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
