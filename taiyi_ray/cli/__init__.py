"""The command line `taiyi-ray`: parse, call, print. Exit codes are in docs/architecture.md."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from taiyi_ray import __version__
from taiyi_ray.cli import annotate, datasets, evaluate, lake, train
from taiyi_ray.cli.options import HELP
from taiyi_ray.errors import TaiyiError

app = typer.Typer(
    name="taiyi-ray",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP,
    help="Annotate biomedical literature in English and Chinese, at any scale.",
)
for commands in (annotate, train, evaluate):
    app.add_typer(commands.app)
app.add_typer(datasets.app, name="datasets", rich_help_panel="Data and training")
app.add_typer(lake.app, name="lake", rich_help_panel="The lake")


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a TaiyiError is one line on stderr and its exit code."""
    try:
        app()
    except TaiyiError as error:
        print(f"taiyi-ray: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
