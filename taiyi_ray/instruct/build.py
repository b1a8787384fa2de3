"""The build: choose datasets -> plan -> read -> make and commit -> verify -> manifest and report.

As with the corpus job, the output alone holds the state: pending units are the planned ones minus a
listing. Whatever dies, the same command goes on.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from taiyi_ray import catalogue, cluster, models, storage
from taiyi_ray.catalogue import DataRoot
from taiyi_ray.config import InstructConfig
from taiyi_ray.corpus.units import Unit, Units
from taiyi_ray.errors import ConfigError, Unfinished
from taiyi_ray.instruct import manifest, plan
from taiyi_ray.instruct.overlap import HeldOut, Index
from taiyi_ray.instruct.plan import Build, Part
from taiyi_ray.instruct.workers import ENDING, make_unit, read_units
from taiyi_ray.interrupts import terminable
from taiyi_ray.placement import READ_CPUS, Resources
from taiyi_ray.records import Document
from taiyi_ray.tasks.options import read_file

_LUCKLESS = 2
"""When so many executions in a row commit nothing, the build ends."""


def run(config: InstructConfig) -> int:
    """Build instruction data; return the exit code 0.

    Args:
        config: the settings of the command.

    Raises:
        ConfigError, StorageError: the user must change something.
        Unfinished: the build ended before all was done; the same command continues it.
        KeyboardInterrupt: Ctrl-C or SIGTERM interrupted it; the same command continues it.
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    root = DataRoot(config.data_root)
    output = storage.absolute(config.output)
    options = read_file(config.task_file) if config.task_file else {}
    chosen, notes = plan.choose(config, root, options)
    for note in notes:
        console.print(f"note: {note}")
    storage.probe(output)
    index, unchecked = _held_out(root)
    if unchecked:
        console.print(
            f"note: nothing is compared with the test sets of {', '.join(unchecked)}: they are not "
            "in the data root"
        )
    held_out = index.to_bytes()
    identity = plan.identity(config, chosen, options, held_out)
    build = plan.load_build(output)
    if build is not None:
        _check_same(config, build, identity)
    if build is None or _pending(build, output):
        with (
            cluster.connected(cluster.Workers(Resources(1, 0), config.workers or 1, "a worker")),
            terminable(),
        ):
            if build is None:
                console.print(f"reading {len(chosen)} datasets to plan the build ...")
                made = plan.parts(
                    chosen, root.address, config, options, _counting(root.address, config)
                )
                build = Build(identity=identity, unchecked=unchecked, parts=made)
                build = _put(output, build, held_out)
                _check_same(config, build, identity)
            _work(config, output, build, console)
    if (form := plan.asking_form(build)) is not None:
        models.write_asking_form(output, form)
    written = manifest.write(output, build)
    console.print(manifest.table(written))
    console.print(f"{config.output}: report.html shows the mixture")
    return 0


def _check_same(config: InstructConfig, build: Build, identity: dict[str, Any]) -> None:
    if changed := _differences(build.identity, identity):
        raise ConfigError(
            f"{config.output}: belongs to a build with other {', '.join(changed)}; use the same "
            "settings and corpora, or another --output"
        )


def _put(output: str, build: Build, held_out: bytes) -> Build:
    """Put the plan of a build, and return the one that stands: another process may be first."""
    storage.put_if_absent(storage.join(output, plan.HELD_OUT), held_out)
    storage.put_if_absent(
        storage.join(output, plan.BUILD), build.model_dump_json(indent=1).encode()
    )
    stands = plan.load_build(output)
    assert stands is not None
    return stands


def _pending(build: Build, output: str) -> list[tuple[Part, Unit]]:
    there = Units(output, ENDING).committed()
    return [
        (part, unit) for part in build.parts for unit in part.all_units() if unit.name not in there
    ]


def _held_out(root: DataRoot) -> tuple[Index, list[str]]:
    """The index of the test sets that are in the data root, and the names of those that are not."""
    absent: list[str] = []

    def documents() -> Iterator[tuple[Document, HeldOut]]:
        for entry in catalogue.entries():
            if entry.held_out is None:
                continue
            if entry.held_out not in catalogue.present(entry, root):
                absent.append(entry.name)
                continue
            for document in catalogue.load(entry, entry.held_out, data_root=root):
                if document.status == "ok":
                    pmid = document.document_id if entry.pmids else None
                    yield document, HeldOut(entry.name, pmid)

    return Index.of(documents()), absent


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two identities, in words."""
    found = [
        name
        for name in sorted(old["settings"].keys() | new["settings"].keys())
        if old["settings"].get(name) != new["settings"].get(name)
    ]
    found += [
        f"dataset {name}"
        for name in sorted(old["entries"].keys() | new["entries"].keys())
        if old["entries"].get(name) != new["entries"].get(name)
    ]
    return found + (["test sets"] if old["held_out"] != new["held_out"] else [])


def _counting(root: str, config: InstructConfig) -> plan.Count:
    def count(wanted: Iterable[tuple[str, str]]) -> Iterator[Sequence[int]]:
        import ray

        task: Any = ray.remote(num_cpus=1)(plan.sizes)
        yield from map(ray.get, [task.remote(*one, root, config.limit) for one in wanted])

    return count


def _work(config: InstructConfig, output: str, build: Build, console: Console) -> None:
    """Execute the pending units until there are none."""
    total = sum(unit.records for part in build.parts for unit in part.all_units())
    luckless = 0
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("documents", total=total)
        before = None
        while True:
            pending = _pending(build, output)
            progress.update(bar, completed=total - sum(unit.records for _, unit in pending))
            if not pending:
                return
            luckless = luckless + 1 if before == len(pending) else 0
            if luckless >= _LUCKLESS:
                raise Unfinished(
                    f"{len(pending)} units could not be made; the same command tries them again"
                )
            before = len(pending)
            for receipt in _execute(pending, config, output):
                if receipt["error"] and not receipt["gone"]:
                    raise ConfigError(receipt["error"])
                progress.advance(bar, receipt["documents"])


def _execute(
    pending: Sequence[tuple[Part, Unit]], config: InstructConfig, output: str
) -> Iterator[dict[str, Any]]:
    """Read, make and commit units on the cluster; yield their receipts."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    context.target_max_block_size = 1  # one row a block: a task takes a unit at a time
    rows = [
        {
            "part": part.model_copy(update={"units": []}).model_dump_json(),
            "units": [unit.model_dump_json() for _, unit in of_part],
        }
        for part, of_part in groupby(pending, key=lambda one: one[0])
    ]
    make: Any = make_unit  # Ray's types know no function with arguments of its own
    workers = config.workers or int(ray.cluster_resources().get("CPU", os.cpu_count() or 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pipeline = (
            ray.data.from_items(rows, override_num_blocks=len(rows))
            .flat_map(
                read_units,
                num_cpus=READ_CPUS,
                compute=ray.data.TaskPoolStrategy(size=min(2 * workers, len(rows))),
            )
            .map_batches(
                make,
                fn_kwargs={
                    "output": output,
                    "seed": config.seed,
                    "overlap": config.overlap,
                },
                batch_size=1,
                num_cpus=READ_CPUS,
                compute=ray.data.TaskPoolStrategy(size=workers),
            )
        )
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # With prefetching a receipt would wait here until the next one comes.
    receipts: Any = pipeline.iter_batches(
        batch_size=None, batch_format="pyarrow", prefetch_batches=0
    )
    for batch in receipts:
        yield from batch.to_pylist()
