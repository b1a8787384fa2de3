"""Write docs/cli.md anew from the commands themselves: what `--help` shows of each.

python docs/cli.py > docs/cli.md        # make docs
"""

from __future__ import annotations

import re
import sys
from typing import Any

import typer
from typer.cli import get_docs_for_click

from taiyi_ray.cli import app


def _commands(group: Any, before: str = "") -> dict[str, Any]:
    """The commands by their names behind `taiyi-ray`.

    Those of a group follow its name, unless the group is a command itself: its section has them.
    """
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        inner = hasattr(command, "commands") and not command.invoke_without_command
        found |= _commands(command, f"{before}{name} ") if inner else {before + name: command}
    return found


GROUP = typer.main.get_command(app)
COMMANDS = _commands(GROUP)

HEAD = """# Commands

Made from the commands themselves by `make docs`; a test fails when this page is stale. The same
text is shown by `taiyi-ray COMMAND --help`. [annotate.md](annotate.md), [service.md](service.md)
and [lake.md](lake.md) explain how the options are used.

{commands}

`taiyi-ray --version` prints the version. `taiyi-ray --install-completion` makes your shell complete
commands and options.

Lists are written with commas (`--tasks ner,re`). An option with `KEY=NAME` or `NAME=VALUE` may be
repeated. `--config FILE` reads the same settings from a YAML file; an option on the command line
wins over the file. In the file `--max-tokens` is called `max_tokens`, and so on. What may be
repeated is one mapping there: `columns`, `engine_args`, and the `adapters` of the service.

Every command ends with exit code 0 when it did what was asked, with 2 when you must change
something (one line on stderr says what), and with 1 when it failed through a bug (the traceback is
kept). What else an exit code can say stands with the command."""

_EXAMPLE = re.compile(r"^Example: (.+)$", re.MULTILINE)


def markdown() -> str:
    """The page: how commands are written, then each command with its options and defaults."""
    context = typer.Context(GROUP, info_name="taiyi-ray", help_option_names=["-h", "--help"])
    summaries, sections = [], []
    for name, command in COMMANDS.items():
        summary = command.help.partition("\n")[0]
        anchor = name.replace(" ", "-")
        summaries.append(f"- [`taiyi-ray {name}`](#taiyi-ray-{anchor}): {summary}")
        prefix = f"taiyi-ray {name}".rpartition(" ")[0]
        section = get_docs_for_click(obj=command, ctx=context, indent=1, call_prefix=prefix)
        sections.append(section.strip())
    text = "\n\n".join([HEAD.format(commands="\n".join(summaries)), *sections])
    return _EXAMPLE.sub(r"Example:\n\n```\n\1\n```", text) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
