"""A benchmark: a split of a dataset, what is asked about it, the metrics, and published numbers.

The entries stand in benchmarks.yaml. What they say of the dataset itself is the catalogue's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from taiyi_ray import catalogue
from taiyi_ray.catalogue import DataRoot
from taiyi_ray.catalogue.entry import Entry, Split
from taiyi_ray.config import explain
from taiyi_ray.errors import ConfigError, unknown
from taiyi_ray.evaluate.cases import CASES
from taiyi_ray.formats.concepts import concepts_of
from taiyi_ray.metrics import METRICS, Metric
from taiyi_ray.tasks import TASKS, assign, terminology
from taiyi_ray.tasks.task import Assignment
from taiyi_ray.tasks.terminology import Terminology
from taiyi_ray.tasks.vocabulary import LANGUAGES


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Published(_Strict):
    """Numbers that others published for a benchmark.

    Attributes:
        metric: the metric of this program that counts as they did, as far as that is known.
        documents: how many documents they scored; a score on another number stands alone.
        digest: of the documents that they scored with their gold (`scoring.set_digest`).
        by_count: why the number of documents tells their set, where nobody here has seen it.
        values: the numbers in percent, by the names of the systems.
        source: where they were published.
        warnings: what makes them hard to compare.
        not_comparable: why the set that is read here is not theirs, if it never is.
    """

    metric: str
    documents: tuple[int, ...]
    values: dict[str, float]
    source: str
    warnings: tuple[str, ...] = ()
    digest: str | None = None
    by_count: str | None = None
    not_comparable: str | None = None

    @model_validator(mode="after")
    def _tells_its_set(self) -> Self:
        if sum(bool(given) for given in (self.digest, self.by_count, self.not_comparable)) != 1:
            raise ValueError(
                "`published` says by `digest`, `by_count` or `not_comparable` which set it is of"
            )
        return self


class Benchmark(_Strict):
    """A benchmark.

    Attributes:
        name: its name.
        dataset: the name of its dataset in the catalogue.
        split: the split that is scored unless the user names another.
        task: the task that is asked.
        types: those of the dataset's types, relations or labels that are asked for; all without it.
        options: options of the task, besides those of the dataset.
        terminology: the splits whose gold names are the terminology of a task `nen`. Another task
            is asked together with `nen`, for the concepts of the names in the text.
        directed: whether the ends of a relation have an order.
        metrics: the metrics, the main one first.
        published: what others published.
    """

    name: str
    dataset: str
    split: Split = "test"
    task: str
    types: tuple[str, ...] = ()
    options: dict[str, JsonValue] = {}
    terminology: tuple[Split, ...] = ()
    directed: bool = True
    metrics: tuple[str, ...] = Field(min_length=1)
    published: Published | None = None

    @property
    def entry(self) -> Entry:
        """The entry of its dataset."""
        return catalogue.entry(self.dataset)

    @property
    def main_metric(self) -> Metric:
        """The metric by which its errors, thresholds and calibration are judged."""
        return METRICS[self.metrics[0]]

    def measures(self, split: Split) -> bool:
        """Whether a split is one that models are measured with, so that nothing is chosen on it.

        These are the split that this benchmark scores, what the dataset holds out, and every test
        split.
        """
        return split in (self.split, *self.entry.held_out, "test")

    @property
    def choices_from(self) -> str:
        """What to do for thresholds, which are never chosen on a split that measures models."""
        free = [split for split in self.entry.splits if not self.measures(split)]
        if "dev" in free:
            return "evaluate --split dev with --scores first"
        if "train" in free:
            return (
                "evaluate --split train --limit N with --scores first, of a model for which those "
                "N documents were held out of training"
            )
        return f"{self.dataset} has no other split, so leave it out of --benchmarks"

    def assignments(
        self, more: dict[str, Any], *, grammar: bool, data_root: DataRoot
    ) -> tuple[Assignment, ...]:
        """What is asked about its documents, its own task first.

        Args:
            more: options of the tasks that the run gives; those that a task lacks do not count.
            grammar: whether answers are constrained to what is in the text.
            data_root: the folder below which the corpora lie, for the names of a terminology.

        Raises:
            ConfigError: an option has a wrong value, or a split of the terminology is not here.
        """
        own = self.entry.options_of(self.task)
        for name in ("types", "relations", "labels"):
            if self.types and name in own:
                own[name] = tuple(t for t in own[name] if t.name in self.types)
        # A benchmark asks in its own language, also a model that wants to be asked in another only.
        options = {self.task: {"languages": tuple(LANGUAGES)} | own | self.options}
        if self.terminology:
            options.setdefault("nen", {"mentions": "names"})["terms"] = self._terms(data_root)
        for task, values in options.items():
            known = TASKS[task].options.model_fields
            values |= {name: value for name, value in more.items() if name in known}
        return tuple(assign([*options], options, grammar=grammar, origin=f"benchmark {self.name}"))

    def _terms(self, data_root: DataRoot) -> Terminology:
        """The concepts of the terminology's splits, by the names that they have there."""
        names: dict[str, Counter[str]] = {}
        for split in self.terminology:
            for document in catalogue.load(self.entry, split, data_root=data_root):
                for mention in document.gold.mentions:
                    known = mention.concept
                    if known and len(concepts_of(known.id)) == 1:
                        name = " ".join((known.name or mention.text).split())
                        of = names.setdefault(known.id, Counter())
                        of.update([name, " ".join(mention.text.split())])
        return terminology.from_mapping(
            {id_: [name for name, _ in of.most_common()] for id_, of in names.items()}
        )


@cache
def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks by name: the 13 of the paper first.

    Raises:
        ConfigError: benchmarks.yaml is not as it should be.
    """
    text = resources.files(__package__).joinpath("benchmarks.yaml").read_text("utf-8")
    found = {}
    for name, values in yaml.safe_load(text).items():
        try:
            found[name] = Benchmark(name=name, **values)
        except ValidationError as error:
            raise ConfigError(f"benchmarks.yaml: {name}: {explain(error, Benchmark)}") from error
        for metric in found[name].metrics:
            if metric not in METRICS:
                raise unknown(f"benchmarks.yaml: {name}", "metric", metric, METRICS)
    return found


def chosen(names: Sequence[str] | None) -> list[Benchmark]:
    """The benchmarks of these names, all of them without names.

    Raises:
        ConfigError: a name is unknown; the message has the nearest one.
    """
    known = benchmarks()
    if names is None or list(names) == ["all"]:
        return list(known.values())
    for name in names:
        if name not in known:
            raise unknown(f"--benchmarks {name}", "benchmark", name, [*known, CASES])
    return [known[name] for name in dict.fromkeys(names)]


def markdown() -> str:
    """The benchmarks with their published numbers as a table, for docs/evaluation.md."""
    lines = [
        "| benchmark | dataset, split | task | metrics | published numbers | of documents |",
        "|---|---|---|---|---|---|",
    ]
    for one in benchmarks().values():
        known = one.published
        values = ", ".join(f"{n} {v}" for n, v in known.values.items()) if known else ""
        sizes = " or ".join(f"{number:,}" for number in known.documents) if known else ""
        cells = (one.name, f"{one.dataset}, {one.split}", one.task, ", ".join(one.metrics))
        lines.append(f"| {' | '.join([*cells, values, sizes])} |")
    notes = [
        f"- **{one.name}**: {' '.join((*known.warnings, *_why(known)))}"
        for one in benchmarks().values()
        if (known := one.published)
    ]
    return "\n".join([*lines, "", *notes, ""])


def _why(known: Published) -> list[str]:
    if known.not_comparable:
        return [f"Not comparable: {known.not_comparable}."]
    return [f"Known by the number of its documents: {known.by_count}."] if known.by_count else []
