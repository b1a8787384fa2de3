"""A corpus job on the console: its progress with the time left, then a table of its results."""

from __future__ import annotations

import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from taiyi_ray.corpus.output import Totals
from taiyi_ray.errors import amount
from taiyi_ray.job.receipt import Receipt

_EVERY = 15.0
"""Seconds between two lines when the console is no terminal."""

_MOST_TYPES = 12


class JobProgress:
    """Shows documents done, rate and time left: a bar on a terminal, else a line now and then.

    Args:
        console: where it is shown.
        total: documents of the whole plan.
        done: documents that were committed before this run.
    """

    def __init__(self, console: Console, total: int, done: int) -> None:
        self._console = console
        self._total, self._at_start = total, done
        self._done, self._failed, self._tokens = done, 0, 0
        self._since = self._said = time.time()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rates]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=total, completed=done, rates="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def stage(self, description: str) -> None:
        """Show what the job waits for."""
        self._bar.update(self._task, description=description)
        if not self._console.is_terminal:
            self._console.print(f"{description} ...", highlight=False)

    def add(self, receipt: Receipt) -> None:
        """Count a committed unit. Rates are computed from when the first engine was ready."""
        if self._done == self._at_start:
            self._since = receipt.ready
            self._bar.update(self._task, description="annotating")
        self._done += receipt.documents
        self._failed += receipt.failed
        self._tokens += receipt.prompt_tokens + receipt.output_tokens
        now = time.time()
        seconds = max(0.001, now - self._since)
        rate = (self._done - self._at_start) / seconds
        rates = (
            f"{rate:.1f} documents/s, {self._tokens / seconds:,.0f} tokens/s, {self._failed} failed"
        )
        self._bar.update(self._task, completed=self._done, rates=rates)
        if not self._console.is_terminal and now - self._said > _EVERY:
            self._said = now
            left = (self._total - self._done) / rate
            self._console.print(
                f"{self._done}/{self._total} documents, {left:.0f} s left, {rates}", highlight=False
            )


def summary(totals: Totals, run: dict[str, Any]) -> Table:
    """Return the table at the end of a run: the whole output's counts, and the run's speed.

    `run` is what run.json holds.
    """
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("documents", _counted(totals.documents.most_common()))
    for name, counts in (
        ("mentions", totals.mentions),
        ("relations", totals.relations),
        ("events", totals.events),
        ("labels", totals.labels),
        ("texts", totals.texts),
    ):
        if counts:
            table.add_row(name, _counted(counts.most_common()))
    if len(totals.questions) > 1:
        table.add_row("answers", _counted(totals.questions.most_common()))
    if totals.reused:
        saved = totals.reused["prompt_tokens"] + totals.reused["output_tokens"]
        table.add_row(
            "not asked again",
            f"{totals.reused['documents']:,} documents, answered earlier with {saved:,} tokens",
        )
    if run["unreadable_answers"]:
        table.add_row(
            "asked again",
            f"{amount(run['unreadable_answers'], 'document')}, answered earlier in outputs that "
            "cannot be read where they were",
        )
    if totals.not_applicable:
        table.add_row("not asked", _counted(totals.not_applicable.most_common()))
    table.add_row(
        "failures", _counted(totals.failures.most_common()) if totals.failures else "none"
    )
    if run["documents"]:
        table.add_row(
            "this run",
            f"{run['documents']:,} documents in {run['seconds']:.0f} s, "
            f"{run['annotating_seconds']:.0f} s of them with the engine: "
            f"{run['documents_per_second']:.2f} documents/s, "
            f"{run['prompt_tokens_per_second']:,.0f} prompt and "
            f"{run['output_tokens_per_second']:,.0f} output tokens/s",
        )
    return table


def _counted(counts: list[tuple[str, int]]) -> str:
    parts = [f"{name} {count:,}" for name, count in counts[:_MOST_TYPES]]
    if len(counts) > _MOST_TYPES:
        parts.append(f"{len(counts) - _MOST_TYPES} more types")
    total = sum(count for _, count in counts)
    return f"{total:,}" + (f"  ({', '.join(parts)})" if parts else "")
