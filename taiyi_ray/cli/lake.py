"""The commands `taiyi-ray lake ...`: parse, call, print."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError, amount

if TYPE_CHECKING:
    import pyarrow as pa

app = typer.Typer(
    no_args_is_help=True,
    help="Keep the present state of a corpus as Delta tables, and ask them.",
)

_Lake = Annotated[str, typer.Argument(metavar="DIR", help="folder of the lake, local or s3://")]
_Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="table|csv|parquet",
        help="how the answer is written (default: parquet for a FILE.parquet, csv for any other "
        "FILE, else a table)",
    ),
]
_Output = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="where the answer goes")
]


@app.command()
def update(
    outputs: Annotated[
        list[str], typer.Argument(metavar="OUT...", help="outputs of `taiyi-ray annotate`")
    ],
    table: Annotated[
        str, typer.Option("--table", metavar="DIR", help="folder of the lake; new or not")
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="YY",
            help="the files pubmedYYn... are a whole new baseline: what is not in them vanishes",
        ),
    ] = None,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="take outputs of other fingerprints too")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="record|document_id",
            help="what makes records revisions of one document outside of PubMed's files, of a "
            "new lake (default: record)",
        ),
    ] = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="fill the table answers, of a new lake")
    ] = False,
) -> None:
    """Take what outputs of `annotate` have and the lake lacks.

    Example: taiyi-ray lake update out --table lake

    The newest version of each document counts, deletions are applied. All is committed at once; a
    run that dies leaves nothing but files that `vacuum` removes, and the same command goes on.

    Exit codes: 0 done (also if nothing was new), 2 something to change, 4 the store does not
    answer: run it again.
    """
    from taiyi_ray.lake.update import Settings
    from taiyi_ray.lake.update import update as run

    if baseline is not None and not re.fullmatch(r"\d\d", baseline):
        raise ConfigError(f"--baseline {baseline}: expected the two digits of pubmedYYn..., as 26")
    if key not in (None, "record", "document_id"):
        raise ConfigError(f"--key {key}: expected record or document_id")
    settings = Settings(
        baseline=None if baseline is None else int(baseline),
        mixed=mixed,
        key=key,  # type: ignore[arg-type]
        answers=answers,
    )
    print(run(table, outputs, settings).summary())


@app.command()
def query(
    lake: _Lake,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="a statement in DuckDB's SQL")],
    when: Annotated[
        str | None,
        typer.Option("--at", metavar="N|DATE", help="as it was then (default: the newest commit)"),
    ] = None,
    format_: _Format = None,
    output: _Output = None,
) -> None:
    """Ask a lake in SQL; its tables are named as `lake show` lists them.

    Example: taiyi-ray lake query lake "SELECT count(*) FROM documents" --at 2026-11-23

    Exit codes: 0 answered, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray.lake import ask

    with ask.query(lake, sql, when) as found:
        _print(found, format_, output)


@app.command()
def changes(
    lake: _Lake,
    since: Annotated[
        str,
        typer.Option("--since", metavar="N|DATE", help="after this commit, or from this day on"),
    ],
    format_: _Format = None,
    output: _Output = None,
) -> None:
    """List the documents that changed: insert, text, metadata, annotation or delete.

    Example: taiyi-ray lake changes lake --since 2026-11-23 --format csv

    Exit codes: 0 answered, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray.lake import ask

    sql, values = ask.changed(lake, since)
    with ask.query(lake, sql, values=values) as found:
        _print(found, format_, output)


@app.command()
def show(
    lake: _Lake,
    document: Annotated[
        str | None, typer.Argument(metavar="PMID", help="a document: its history")
    ] = None,
) -> None:
    """Show the tables, sizes and runs of a lake, or the history of one document.

    Example: taiyi-ray lake show lake 30153236

    Exit codes: 0 shown, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray.lake import ask, commits

    if document is not None:
        _screen(ask.history(lake, document).to_reader())
        return
    commit = commits.opened(storage.absolute(lake))
    baseline = f", baseline {commit.floor:02d}" if commit.floor >= 0 else ""
    print(f"commit {commit.number} of {commit.committed_at}{baseline}")
    _screen(ask.tables(commit).to_reader())
    runs = "SELECT run_id, state, model, adapter, fingerprint, output FROM runs ORDER BY run_id"
    with ask.query(lake, runs) as found:
        _screen(found)


@app.command()
def check(lake: _Lake) -> None:
    """See whether the tables are what the ledger says, and mentions stand in their text.

    Example: taiyi-ray lake check lake

    Exit codes: 0 all is right, 1 something is wrong: the lines say what, 2 something to change,
    4 the store does not answer: run it again.
    """
    from taiyi_ray.lake.check import check as found

    wrong = list(found(lake))
    print("\n".join(wrong) or "all is right")
    raise typer.Exit(bool(wrong))


@app.command()
def vacuum(
    lake: _Lake,
    keep_days: Annotated[
        float, typer.Option(metavar="DAYS", min=0, help="days that can still be asked")
    ] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="remove nothing")] = False,
) -> None:
    """Remove the files that no commit of the last days needs.

    Example: taiyi-ray lake vacuum lake --keep-days 90

    Exit codes: 0 removed, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray.lake.upkeep import vacuum as remove

    found = remove(lake, keep_days, dry_run=dry_run)
    done = "would be removed" if dry_run else "removed"
    size = sum(file.size for file in found) / 1e6
    print(f"{amount(len(found), 'file')} {done}, {size:,.1f} MB")


@app.command()
def rebuild(lake: _Lake) -> None:
    """Make the Delta logs anew, after another program wrote to the tables.

    Example: taiyi-ray lake rebuild lake

    Exit codes: 0 done, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray.lake.upkeep import rebuild as make

    print(f"the Delta logs are those of commit {make(lake)}")


@app.command()
def sql(
    lake: _Lake,
    dialect: Annotated[
        str,
        typer.Option("--dialect", metavar="duckdb|spark|trino|athena|dbt", help="of which program"),
    ] = "duckdb",
) -> None:
    """Print the statements that register the tables in another program.

    Example: taiyi-ray lake sql s3://bucket/lake --dialect athena

    Exit codes: 0 printed, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray.lake import commits
    from taiyi_ray.lake.dialects import statements

    made = statements(lake, dialect)
    commits.opened(storage.absolute(lake))  # another program would find nothing there
    print(made)


# --------------------------------------------------------------------------------------- printing


def _print(found: pa.RecordBatchReader, format_: str | None, output: str | None) -> None:
    """Print an answer, or write it where it shall go."""
    from taiyi_ray.lake import ask

    if format_ is None:
        format_ = "parquet" if output and output.endswith(".parquet") else "table"
    if format_ not in ("table", "csv", "parquet"):
        raise ConfigError(f"--format {format_}: expected table, csv or parquet")
    if format_ == "parquet":
        if output is None:
            raise ConfigError("--format parquet: needs --output FILE")
        ask.write_parquet(found, storage.absolute(output))
    elif output is not None:
        import io

        with storage.written(storage.absolute(output)) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            ask.write_csv(found, text)
            text.flush()
            text.detach()
    elif format_ == "csv":
        ask.write_csv(found, sys.stdout)
    else:
        _screen(found)


def _screen(found: Any) -> None:
    from rich.console import Console

    from taiyi_ray.lake import ask

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    shown, more = ask.on_screen(found)
    if not console.is_terminal:
        console.width = 10_000
    console.print(shown)
    if more:
        print(
            f"the first {ask.SHOWN} rows; --format csv shows all", file=sys.stderr,
        )  # fmt: skip
