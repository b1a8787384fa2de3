"""A benchmark as a source of the corpus job: the documents of a split, by position."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from taiyi_ray import catalogue, storage
from taiyi_ray.catalogue import DataRoot
from taiyi_ray.catalogue.entry import Entry, Split
from taiyi_ray.corpus.plan import load_job, load_plan
from taiyi_ray.corpus.source import PlannedSource, Scanned, SourceState
from taiyi_ray.corpus.sources import SOURCE_KINDS, digest
from taiyi_ray.errors import ConfigError
from taiyi_ray.evaluate.benchmark import Benchmark, chosen
from taiyi_ray.evaluate.cases import CASES, CasesLookedUp
from taiyi_ray.records import Document
from taiyi_ray.tasks.task import Assignment

BENCHMARK = "benchmark"
"""The kind, and the scheme of the addresses."""


@dataclass(frozen=True)
class BenchmarkSource:
    """The split of a benchmark; `corpus.source.Source` says what its methods do.

    Its address does not name the data root, so that an evaluation goes on where the corpora lie
    elsewhere; that they are the same is told by the digest of their files.

    Attributes:
        benchmark: the benchmark.
        split: the split.
        data_root: the folder below which the corpora lie.
        assignments: what is asked about the documents.
        limit: the most documents; None for all.
    """

    benchmark: Benchmark
    split: Split
    data_root: str
    assignments: tuple[Assignment, ...] = ()
    limit: int | None = None

    kind = BENCHMARK

    @property
    def name(self) -> str:
        return f"{self.benchmark.name}/{self.split}"

    @property
    def address(self) -> str:
        return f"{BENCHMARK}://{self.name}"

    @property
    def size(self) -> int:
        return 0  # a test set is small enough to be scanned in the driver

    def state(self) -> SourceState:
        """Return the address, a digest of the files and how they are read, and those beside them.

        Raises:
            ConfigError: the files of the split are not below the data root.
        """
        entry, root = self.benchmark.entry, DataRoot(self.data_root)
        layout = root.layouts(entry).get(self.split)
        if layout is None:
            raise ConfigError(catalogue.absent(entry, self.split, root))
        files = layout.splits[self.split]
        addresses = [root.address_of(name) for name in root.read_for(files)]
        content = [digest(address) or storage.stat(address).tag for address in addresses]
        read = entry.format_of(layout, files)
        told = [content, read.name, read.version, files.model_dump(mode="json", exclude={"counts"})]
        tag = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        return SourceState(
            path=self.address, size=self.size, tag=tag, beside=_beside(entry, self.split, root)
        )

    def record_sizes(self, first: int = 0, most: int | None = None) -> Scanned:
        entry = self.benchmark.entry
        layout = DataRoot(self.data_root).layouts(entry)[self.split]
        format_ = entry.format_of(layout, layout.splits[self.split]).name
        room = None if self.limit is None else max(0, self.limit - first)
        most = room if most is None else most if room is None else min(most, room)
        sizes: list[int] = []
        for document in islice(self.read(), first, None):
            if most is not None and len(sizes) >= most:
                return Scanned(format_, sizes, False)
            sizes.append(len(document.text))
        return Scanned(format_, sizes, True)

    def check_unchanged(self, planned: SourceState) -> None:
        now = self.state()
        # Plans of older programs know nothing of files beside others.
        same = planned.beside is None or _contents(now) == _contents(planned)
        if now.tag != planned.tag or not same:
            raise ConfigError(
                f"{self.address}: the files of {self.benchmark.dataset} below {self.data_root} "
                "changed since they were planned; put the old ones back, or write to another "
                "--output"
            )

    @contextmanager
    def documents(
        self, format_name: str, first: int, last: int, columns: Mapping[str, str]
    ) -> Iterator[Iterator[Document]]:
        yield islice(self.read(), first, last + 1)

    def read(self) -> Iterator[Document]:
        """Yield all documents of the split with their gold, each with its position.

        Raises:
            ConfigError, StorageError: as for `catalogue.load`.
        """
        read = catalogue.load(self.benchmark.entry, self.split, data_root=self.data_root)
        for position, document in enumerate(read):
            document.source, document.position = self.name, position
            yield document


def _beside(entry: Entry, split: Split, root: DataRoot) -> list[SourceState]:
    """The files that are read with those that the entry names: brat's text beside its annotations.

    The path of each is its name below the data root.
    """
    named = set(root.read_for(root.layouts(entry)[split].splits[split]))
    return [
        SourceState(path=name, size=file.size, tag=file.tag, sha256=digest(file.path))
        for name, file in catalogue.stored(entry, split, root).items()
        if name not in named
    ]


def _contents(state: SourceState) -> list[tuple[str, str]]:
    """The files beside a source by name and content; the folders that they lie in do not count."""
    beside = state.beside or ()
    return sorted((one.path.rpartition("/")[2], one.sha256 or one.tag) for one in beside)


def _named(address: str) -> tuple[Benchmark, Split]:
    """The benchmark and the split of an address."""
    name, _, split = address.removeprefix(f"{BENCHMARK}://").partition("/")
    (benchmark,) = chosen([name])
    return benchmark, next(known for known in catalogue.SPLITS if known == split)


def planned(output: str) -> tuple[list[tuple[Benchmark, Split, int]], bool]:
    """The benchmarks that an output has planned, and whether it has cases.

    Each benchmark stands with its split and the number of its planned documents.

    Raises:
        ConfigError: the folder is an output of something else.
    """
    address = storage.absolute(output)
    job = load_job(address)
    sources = load_plan(address, job).sources.values() if job else ()
    if other := [source.path for source in sources if source.kind not in (BENCHMARK, CASES)]:
        raise ConfigError(f"--output {output}: holds rows of {other[0]}; choose another folder")
    known = [(*_named(s.path), s.records) for s in sources if s.kind == BENCHMARK]
    return known, any(source.kind == CASES for source in sources)


@dataclass(frozen=True)
class _LookedUp:
    """Looks planned benchmarks up again; it can be pickled, because Ray tasks do so.

    Attributes:
        data_root: the folder below which the corpora lie.
    """

    data_root: str

    def __call__(self, planned: PlannedSource) -> BenchmarkSource:
        benchmark, split = _named(planned.path)
        return BenchmarkSource(benchmark, split, self.data_root)


def register(data_root: str) -> None:
    """Make benchmarks and cases kinds of sources, whose files lie below this folder."""
    SOURCE_KINDS[BENCHMARK] = _LookedUp(storage.absolute(data_root))
    SOURCE_KINDS[CASES] = CasesLookedUp(storage.absolute(data_root))
