"""How far a build of instructions is: by its plan and one listing of its output; without Ray."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from taiyi_ray import storage
from taiyi_ray.corpus.units import Units
from taiyi_ray.instruct.manifest import MANIFEST
from taiyi_ray.instruct.plan import load_build
from taiyi_ray.instruct.workers import ENDING
from taiyi_ray.states import MEANING, State


@dataclass(frozen=True, slots=True)
class BuildStatus:
    """The progress of a build.

    Attributes:
        output: its address.
        state: `absent`, `planned`, `unfinished` or `complete`. A build does not write that it
            works: one that is not complete may work or have ended.
        documents: number of planned documents.
        left: how many of these are in no committed unit.
        units: number of planned units.
        units_done: how many of these are committed.
    """

    output: str
    state: State
    documents: int = 0
    left: int = 0
    units: int = 0
    units_done: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class BuildLook:
    """Looks at the progress of one build.

    Args:
        output: the output, as a user wrote it.
    """

    def __init__(self, output: str) -> None:
        self._output = storage.absolute(output)

    def status(self) -> BuildStatus:
        """Return the present progress.

        Raises:
            ConfigError, StorageError: the plan is not of this program, or cannot be read.
        """
        build = load_build(self._output)
        if build is None:
            return BuildStatus(self._output, "absent")
        there = Units(self._output, ENDING).committed()
        units = [unit for part in build.parts for unit in part.all_units()]
        left = [unit for unit in units if unit.name not in there]
        whole = not left and storage.exists(storage.join(self._output, MANIFEST))
        begun = len(left) < len(units)
        return BuildStatus(
            output=self._output,
            state="complete" if whole else "unfinished" if begun else "planned",
            documents=sum(unit.records for unit in units),
            left=sum(unit.records for unit in left),
            units=len(units),
            units_done=len(units) - len(left),
        )


def table(status: BuildStatus) -> Table:
    """Return a status as a table of two columns."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("output", status.output)
    told = "not complete: it works, or it ended and the same command goes on"
    table.add_row("state", told if status.state == "unfinished" else MEANING[status.state])
    if status.state == "absent":
        return table
    done = status.documents - status.left
    share = done / status.documents if status.documents else 1.0
    table.add_row(
        "done",
        f"{done:,} of {status.documents:,} documents ({share:.1%}), "
        f"{status.units_done:,} of {status.units:,} units",
    )
    if status.state == "complete":
        table.add_row("holds", "instruction data; report.html shows the mixture")
    return table
