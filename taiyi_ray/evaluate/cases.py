"""A case study: texts of one's own, one a task and language, answered and laid side by side.

The cases stand in a file `case-study.yaml` below the data root (examples/case-study.yaml). Each is
a source of the corpus job with one document. There is no gold, and no score.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.table import Column, Table

from taiyi_ray import storage
from taiyi_ray.catalogue import DataRoot
from taiyi_ray.config import explain, read_yaml
from taiyi_ray.corpus.output import Output
from taiyi_ray.corpus.source import PlannedSource, Scanned, SourceState
from taiyi_ray.errors import ConfigError
from taiyi_ray.formats import language
from taiyi_ray.records import Document, passages, rows_of
from taiyi_ray.tasks import assign
from taiyi_ray.tasks.task import Assignment
from taiyi_ray.tasks.template import PLAIN_FORM, AskingForm
from taiyi_ray.tasks.vocabulary import LANGUAGES

CASES = "case-study"
"""The name of the benchmark, the kind of its sources, and the scheme of their addresses."""

_FILES = f"**/{CASES}.yaml"


class CasePassage(BaseModel):
    """A passage of a case.

    Attributes:
        type: its part in the document, as in `records.Passage`.
        text: its text; the characters tell its language.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    text: str = Field(min_length=1)


class Case(BaseModel):
    """One text with one task.

    Attributes:
        name: its name in the file.
        task: the task that is asked.
        options: the options of the task.
        passages: the text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    task: str
    options: dict[str, Any] = {}
    passages: tuple[CasePassage, ...] = Field(min_length=1)


def cases(data_root: str) -> list[Case]:
    """Read the cases below a data root.

    Raises:
        ConfigError: there is no such file, or it is not as it should be.
    """
    root = DataRoot(data_root)
    files = root.matching(_FILES)
    if not files:
        raise ConfigError(
            f"--benchmarks {CASES}: no file {CASES}.yaml is below {root.address}; "
            f"examples/{CASES}.yaml shows one"
        )
    address = root.address_of(files[0])
    values = read_yaml("--data-root", address)
    if not isinstance(values, dict):
        raise ConfigError(f"{address}: expected cases by name")
    return [_case(name, of, address) for name, of in values.items()]


def _case(name: object, values: object, address: str) -> Case:
    if not isinstance(values, dict):
        raise ConfigError(f"{address}: {name}: expected a task and passages")
    try:
        return Case.model_validate({"name": name, **values})
    except ValidationError as error:
        raise ConfigError(f"{address}: {name}: {explain(error, Case)}") from error


@dataclass(frozen=True)
class CaseSource:
    """A case as a source; `corpus.source.Source` says what its methods do.

    Attributes:
        case: the case.
        assignments: what is asked about it.
    """

    case: Case
    assignments: tuple[Assignment, ...] = ()

    kind = CASES
    size = 0

    @property
    def name(self) -> str:
        return f"{CASES}/{self.case.name}"

    @property
    def address(self) -> str:
        return f"{CASES}://{self.case.name}"

    @property
    def document(self) -> Document:
        """Its text as a document."""
        parts = [(one.type, language.of_text(one.text), one.text) for one in self.case.passages]
        return Document(self.case.name, passages(parts), source=self.name)

    def state(self) -> SourceState:
        told = json.dumps([passage.model_dump() for passage in self.case.passages])
        tag = hashlib.sha256(told.encode()).hexdigest()
        return SourceState(path=self.address, size=self.size, tag=tag)

    def record_sizes(self, first: int = 0, most: int | None = None) -> Scanned:
        there = first == 0 and (most is None or most > 0)
        return Scanned("text", [1] if there else [], True)

    def check_unchanged(self, planned: SourceState) -> None:
        if self.state().tag != planned.tag:
            raise ConfigError(
                f"{self.address}: its text changed since it was planned; give the new one another "
                "name, or write to another --output"
            )

    @contextmanager
    def documents(
        self, format_name: str, first: int, last: int, columns: Mapping[str, str]
    ) -> Iterator[Iterator[Document]]:
        yield iter([self.document])


def sources(
    data_root: str,
    form: AskingForm = PLAIN_FORM,
    *,
    grammar: bool,
) -> list[CaseSource]:
    """The cases below a data root, with what is asked about them.

    Args:
        data_root: the folder.
        form: the form of the questions.
        grammar: whether answers are constrained to what is in the text.

    Raises:
        ConfigError: as for `cases`, or an option of a task is wrong.
    """
    return [CaseSource(case, _asked(case, form, grammar=grammar)) for case in cases(data_root)]


def _asked(case: Case, form: AskingForm, *, grammar: bool) -> tuple[Assignment, ...]:
    origin = f"{CASES}.yaml: {case.name}"
    options = {"languages": tuple(LANGUAGES)} | case.options
    asked = assign([case.task], {case.task: options}, grammar=grammar, origin=origin)
    return tuple(assignment.in_form(form) for assignment in asked)


@dataclass(frozen=True)
class CasesLookedUp:
    """Looks planned cases up again; it can be pickled, because Ray tasks do so.

    Attributes:
        data_root: the folder below which the file of the cases lies.
    """

    data_root: str

    def __call__(self, planned: PlannedSource) -> CaseSource:
        name = planned.path.removeprefix(f"{CASES}://")
        found = next((case for case in cases(self.data_root) if case.name == name), None)
        if found is None:
            raise ConfigError(f"{planned.path}: no case below {self.data_root} is called so")
        return CaseSource(found)


# --------------------------------------------------------------------------------- side by side


def rows(output: str) -> Iterator[dict[str, Any]]:
    """Yield the rows that an output has of cases.

    Raises:
        StorageError: the output cannot be read.
    """
    units = Output(output).units
    for name in sorted(units.committed(CASES)):
        yield from rows_of(storage.read_table(f"{units.address}/{name}{units.ending}"))


Answers = Mapping[str, Sequence[str | None]]
"""The answers of runs to each case, by its name, in the order of the runs; None where a run has not
asked it."""


def answers(runs: Sequence[str]) -> Answers:
    """The answers of several runs to the cases that they asked.

    Args:
        runs: the folders of the outputs.

    Raises:
        StorageError: an output cannot be read.
    """
    read = [{row["document_id"]: _last_answers(row) for row in rows(run)} for run in runs]
    names = dict.fromkeys(name for of in read for name in of)
    return {name: [of.get(name) for of in read] for name in names}


def _last_answers(row: Mapping[str, Any]) -> str:
    last = {(a["task"], *a["types"], a["language"]): a["raw"] for a in row["answers"]}
    return "\n".join(raw.strip() for raw in last.values() if raw)


def table(runs: Sequence[str], answered: Answers) -> Table:
    """The answers of runs as a table, a line each case and a column each run."""
    columns = [Column(run, overflow="fold") for run in runs]
    shown = Table(Column("case", overflow="fold"), *columns, show_lines=True)
    for name, said in answered.items():
        shown.add_row(name, *said)
    return shown
