"""The commands that measure a model: evaluate, compare."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from taiyi_ray.cli.options import (
    EXIT_INTERRUPTED,
    Adapter,
    Chat,
    Config,
    ContextLength,
    ContextLimit,
    EngineArg,
    Gpu,
    Grounding,
    MaxTokens,
    Model,
    Scores,
    TrustRemoteCode,
    Wording,
    option,
    settings_of,
)
from taiyi_ray.config import EvaluateConfig

app = typer.Typer()

_PANEL = "Evaluate"


def _evaluating(name: str, *flags: str, metavar: str | None = None) -> Any:
    return option(name, *flags, metavar=metavar, of=EvaluateConfig)


@app.command(rich_help_panel=_PANEL)
def evaluate(
    context: typer.Context,
    benchmarks: Annotated[str | None, _evaluating("benchmarks", metavar="NAME,...")] = None,
    data_root: Annotated[str | None, _evaluating("data_root", metavar="DIR")] = None,
    output: Annotated[str | None, _evaluating("output", "--output", "-o", metavar="DIR")] = None,
    split: Annotated[str | None, _evaluating("split")] = None,
    limit: Annotated[int | None, _evaluating("limit")] = None,
    model: Model = None,
    adapter: Adapter = None,
    chat: Chat = None,
    engine: Annotated[str | None, _evaluating("engine")] = None,
    url: Annotated[str | None, _evaluating("url")] = None,
    engines: Annotated[str | None, _evaluating("engines", metavar="N|MIN:MAX")] = None,
    gpu: Gpu = None,
    engine_args: EngineArg = None,
    grounding: Grounding = None,
    ask: Annotated[str | None, _evaluating("ask")] = None,
    wording: Wording = None,
    shots: Annotated[int | None, _evaluating("shots")] = None,
    shots_by: Annotated[str | None, _evaluating("shots_by")] = None,
    seed: Annotated[int | None, _evaluating("seed")] = None,
    scores: Scores = None,
    thresholds: Annotated[str | None, _evaluating("thresholds", metavar="OUT")] = None,
    context_length: ContextLength = None,
    context_limit: ContextLimit = None,
    max_tokens: MaxTokens = None,
    max_failed: Annotated[float | None, _evaluating("max_failed")] = None,
    stall_minutes: Annotated[float | None, _evaluating("stall_minutes")] = None,
    retry_failed: Annotated[bool | None, _evaluating("retry_failed")] = None,
    trust_remote_code: TrustRemoteCode = None,
    config: Config = None,
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
    settings = settings_of(EvaluateConfig, context)
    from taiyi_ray.evaluate import run  # slow to import: only when it is needed

    try:
        code = run(settings, dry_run=dry_run)
    except KeyboardInterrupt:
        print("interrupted; what was done is kept, the same command goes on", file=sys.stderr)
        code = EXIT_INTERRUPTED
    raise typer.Exit(code)


@app.command(rich_help_panel=_PANEL)
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

    from taiyi_ray.evaluate import cases, side_by_side
    from taiyi_ray.evaluate import compare as comparison

    found = comparison.compare(runs, by_type=by_type, seed=seed)
    if to is not None:
        side_by_side.write(found, to)
    console = Console(highlight=False, markup=False)
    if found.lines:
        console.print(side_by_side.table(found.lines))
    if found.answers:
        console.print(cases.table(runs, found.answers))
    if missing := side_by_side.not_in_all(found):
        console.print(missing, soft_wrap=True)
