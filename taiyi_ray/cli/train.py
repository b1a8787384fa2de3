"""The commands of data and training: build-instructions, train, merge, convert."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from taiyi_ray.cli.options import EXIT_INTERRUPTED, Config, option, settings_of
from taiyi_ray.config import InstructConfig, TrainConfig

app = typer.Typer()

_PANEL = "Data and training"


def _building(name: str, *flags: str, metavar: str | None = None) -> Any:
    return option(name, *flags, metavar=metavar, of=InstructConfig)


@app.command("build-instructions", rich_help_panel=_PANEL)
def build_instructions(
    context: typer.Context,
    data_root: Annotated[str | None, _building("data_root", metavar="DIR")] = None,
    output: Annotated[str | None, _building("output", "--output", "-o", metavar="DIR")] = None,
    datasets: Annotated[str | None, _building("datasets", metavar="NAME,...")] = None,
    accept_terms: Annotated[list[str] | None, _building("accept_terms", metavar="NAME,...")] = None,
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
    config: Config = None,
) -> None:
    """Build instruction data from the catalogue's datasets: chats in Parquet, for both stages.

    Example: taiyi-ray build-instructions --data-root corpora --output instructions

    The same command goes on where an earlier one ended. Documents that occur in a test set of the
    benchmarks are left out, and so are datasets whose terms do not clearly allow training.

    Exit codes: 0 done, 2 something to change, 4 unfinished and 130 interrupted: run it again.
    """
    settings = settings_of(InstructConfig, context)
    from taiyi_ray.instruct import run  # slow to import: only when it is needed

    try:
        code = run(settings)
    except KeyboardInterrupt:
        print("interrupted; what was done is kept, the same command goes on", file=sys.stderr)
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


def _training(name: str, *flags: str, metavar: str | None = None) -> Any:
    return option(name, *flags, metavar=metavar, of=TrainConfig)


@app.command(rich_help_panel=_PANEL)
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
    compile: Annotated[bool | None, _training("compile")] = None,
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
    settings = settings_of(TrainConfig, context)
    from taiyi_ray.train import run  # slow to import: only when it is needed

    try:
        code = run(settings, dry_run=dry_run)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


@app.command(rich_help_panel=_PANEL)
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
    from transformers.utils.logging import disable_progress_bar

    from taiyi_ray import models  # slow to import: only when it is needed

    disable_progress_bar()
    print(models.write_merged(model, adapter, to))


@app.command(rich_help_panel=_PANEL)
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
