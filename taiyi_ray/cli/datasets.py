"""The commands `taiyi-ray datasets ...`, which show the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taiyi_ray.cli.options import HELP
from taiyi_ray.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

_WIDEST = 1 << 16
"""The width of an output that is no terminal: no line is as long, so that none is wrapped."""

app = typer.Typer(invoke_without_command=True, context_settings=HELP)

_DataRoot = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="folder below which your corpora lie, or s3://bucket/prefix"),
]
_Dataset = Annotated[str, typer.Argument(metavar="NAME", help="a dataset of the catalogue")]


def _console() -> Console:
    """The console of the output, in which a line is wrapped on a terminal alone."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _WIDEST
    return console


@app.callback()
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

    from taiyi_ray import catalogue
    from taiyi_ray.catalogue import views

    root = catalogue.DataRoot(data_root) if data_root is not None else None
    found = views.chosen(
        catalogue.entries(), task=task, language=language, root=root, present=present
    )
    if as_json:
        print(json.dumps([views.as_dict(entry, root) for entry in found], ensure_ascii=False))
        return
    console = _console()
    console.print(views.table(found, root))
    read = sum(entry.verified for entry in found)
    console.print(f"{len(found)} datasets, {read} of them read here")


@app.command()
def show(name: _Dataset, data_root: _DataRoot = None) -> None:
    """Show what the catalogue says of a dataset and, with --data-root, one of its records.

    Example: taiyi-ray datasets show bc5cdr --data-root corpora

    Exit codes: 0 shown, 2 something to change, 4 the store does not answer: run it again.
    """
    from taiyi_ray import catalogue
    from taiyi_ray.catalogue import views

    root = catalogue.DataRoot(data_root) if data_root is not None else None
    _console().print(views.page(catalogue.entry(name), root))


@app.command()
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
    from taiyi_ray import catalogue
    from taiyi_ray.catalogue import views

    checked = catalogue.check(catalogue.entry(name), data_root)
    console = _console()
    console.print(views.checks_table(checked))
    console.print(views.types_table(checked))
    if faults := [fault for one in checked for fault in one.faults]:
        raise ConfigError(
            f"{name}: {'; '.join(faults)}; put the files there as their owner gives them, or "
            f"correct {catalogue.entry(name).file}"
        )
