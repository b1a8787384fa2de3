"""A comparison as it is shown: in the terminal, and in files of Markdown, HTML and Parquet."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Column, Table

from taiyi_ray import highlight, storage
from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate.compare import ALL_TYPES, Compared, Comparison

_HEAD = (
    "benchmark",
    "metric",
    "type",
    "run",
    "score",
    "95 %",
    "documents",
    "difference",
    "verdict",
)


def _cells(line: Compared) -> tuple[str, ...]:
    return (
        line.of,
        line.metric,
        line.type,
        line.run,
        f"{line.value:.1f}",
        f"{line.low:.1f}-{line.high:.1f}",
        f"{line.documents:,}",
        _difference(line),
        line.verdict,
    )


def _difference(line: Compared) -> str:
    if line.difference is None:
        return ""
    return f"{line.difference:+.1f} ({line.difference_low:+.1f} to {line.difference_high:+.1f})"


def not_in_all(found: Comparison) -> str | None:
    """One line that names the benchmarks that some runs lack; None where all have the same."""
    return f"not in all runs: {', '.join(found.not_in_all)}" if found.not_in_all else None


# ---------------------------------------------------------------------------------- the terminal


def table(lines: Sequence[Compared]) -> Table:
    """The scores as a table for the terminal, which is readable with 80 columns.

    What was scored and how stands once, beside its first run. The number of documents is left out:
    it is in the files.
    """
    by_type = any(line.type != ALL_TYPES for line in lines)
    names = [_scored(line, by_type=by_type) for line in lines]
    shown = Table(
        Column("benchmark", overflow="fold"),
        Column("run", overflow="fold"),
        Column("score", no_wrap=True, justify="right"),
        Column("95 %", no_wrap=True),
        Column("difference", overflow="fold"),
        Column("verdict", min_width=10, overflow="fold"),
        box=None,
        pad_edge=False,
    )
    before = ""
    for name, line in zip(names, lines, strict=True):
        *_, run, score, interval, _, difference, verdict = _cells(line)
        shown.add_row("" if name == before else name, run, score, interval, difference, verdict)
        before = name
    return shown


def _scored(line: Compared, *, by_type: bool) -> str:
    """What was scored and how, in two lines."""
    return f"{line.of}\n{line.metric}{f', {line.type}' if by_type else ''}"


# ------------------------------------------------------------------------------------------ files


def write(found: Comparison, path: str) -> None:
    """Write a comparison to a file: Markdown (.md), HTML (.html) or Parquet (.parquet).

    Raises:
        ConfigError: the file has another ending.
        StorageError: it cannot be written.
    """
    forms = {".md": _markdown, ".html": _html, ".parquet": _parquet}
    ending = next((ending for ending in forms if path.endswith(ending)), None)
    if ending is None:
        raise ConfigError(f"--to {path}: expected a name that ends with {', '.join(forms)}")
    storage.replace(storage.absolute(path), forms[ending](found))


_Cells = Sequence[str]


def _tables(found: Comparison) -> Iterator[tuple[str, _Cells, list[_Cells]]]:
    """The tables that there is something for: a name, the heads, and the cells of each line."""
    if found.lines:
        yield "runs", _HEAD, [_cells(line) for line in found.lines]
    if found.answers:
        yield (
            "cases",
            ("case", *found.runs),
            [(name, *(one or "" for one in said)) for name, said in found.answers.items()],
        )


def _markdown(found: Comparison) -> bytes:
    def line(cells: _Cells) -> str:
        told = (cell.replace("|", r"\|").replace("\n", "<br>") for cell in cells)
        return f"| {' | '.join(told)} |\n"

    parts = [
        "".join(map(line, (head, ("---",) * len(head), *rows))) for _, head, rows in _tables(found)
    ]
    if missing := not_in_all(found):
        parts.append(f"{missing}\n")
    return "\n".join(parts).encode()


def _html(found: Comparison) -> bytes:
    def line(tag: str, cells: _Cells) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    def drawn(name: str, head: _Cells, rows: list[_Cells]) -> str:
        body = "\n".join(line("td", cells) for cells in rows)
        return (
            f'<div class="wide"><table class="{name}">\n<thead>{line("th", head)}</thead>\n'
            f"<tbody>\n{body}\n</tbody></table></div>\n"
        )

    lead = (
        '<p class="lead">Differences are to the first run, over the documents that both scored, '
        "with their 95 % interval.</p>\n"
    )
    missing = not_in_all(found)
    note = f'<p class="note">{html.escape(missing)}</p>\n' if missing else ""
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Comparison</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>{highlight.style(__package__, 'report')}</style>\n"
        '<main class="page summary">\n<h1>Comparison</h1>\n'
        f"{lead if found.lines else ''}{''.join(drawn(*one) for one in _tables(found))}"
        f"{note}</main>\n</html>\n"
    ).encode()


def _parquet(found: Comparison) -> bytes:
    """The scores, a row each line, and the answers, a row each case and run."""
    said = [
        {"run": run, "case": name, "answer": answer}
        for name, answers in found.answers.items()
        for run, answer in zip(found.runs, answers, strict=True)
    ]
    tables = [pa.Table.from_pylist(rows) for rows in (list(map(asdict, found.lines)), said) if rows]
    buffer = io.BytesIO()
    together = pa.concat_tables(tables, promote_options="default")
    pq.write_table(together, buffer, compression="zstd")
    return buffer.getvalue()
