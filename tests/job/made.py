"""A second kind of source, as a feature above the job may have one: documents that are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from taiyi_ray.corpus.source import PlannedSource, Scanned, SourceState
from taiyi_ray.errors import ConfigError
from taiyi_ray.records import Document, passages
from taiyi_ray.tasks.task import Assignment

MADE = "made"
"""The kind."""


@dataclass(frozen=True)
class Made:
    """A number of documents about one drug: the source `<drug>/<number>` at `made://...`.

    Attributes:
        drug: what all documents are about.
        number: of documents.
        assignments: what is asked about them.
        version: how the documents are made.
    """

    drug: str
    number: int
    assignments: tuple[Assignment, ...] = ()
    version: int = 1

    kind = MADE
    size = 0

    @classmethod
    def of(cls, planned: PlannedSource) -> Made:
        drug, _, number = planned.path.removeprefix("made://").partition("/")
        return cls(drug, int(number))

    @property
    def name(self) -> str:
        return f"{self.drug}/{self.number}"

    @property
    def address(self) -> str:
        return f"made://{self.name}"

    def state(self) -> SourceState:
        return SourceState(path=self.address, size=self.size, tag=f"version {self.version}")

    def record_sizes(self, first: int = 0, most: int | None = None) -> Scanned:
        end = self.number if most is None else min(self.number, first + most)
        return Scanned("jsonl", [100] * (end - first), end == self.number)

    def check_unchanged(self, planned: SourceState) -> None:
        if planned != planned.model_copy(update=dict(self.state())):
            raise ConfigError(f"{self.address}: changed since its units were planned")

    @contextmanager
    def documents(
        self, format_name: str, first: int, last: int, columns: Mapping[str, str]
    ) -> Iterator[Iterator[Document]]:
        assert (format_name, columns) == ("jsonl", {})
        yield map(self._document, range(first, last + 1))

    def _document(self, position: int) -> Document:
        text = f"Patient {position} was treated with {self.drug} after a stroke."
        made = Document(f"{self.drug}-{position}", passages([("text", "en", text)]))
        made.source, made.position = self.name, position
        return made
