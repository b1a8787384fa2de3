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

from taiyi_ray import cluster, models, storage
from taiyi_ray.catalogue import DataRoot, Entry
from taiyi_ray.catalogue.entry import Split
from taiyi_ray.config import InstructConfig, completed
from taiyi_ray.corpus.units import Unit, Units
from taiyi_ray.errors import ConfigError, Unfinished
from taiyi_ray.instruct import manifest, plan, tables
from taiyi_ray.instruct.inputs import changes, inputs
from taiyi_ray.instruct.overlap import Index
from taiyi_ray.instruct.plan import Build, Part
from taiyi_ray.instruct.workers import ENDING, make_unit, read_held_out, read_units
from taiyi_ray.interrupts import terminable
from taiyi_ray.placement import READ_CPUS, Resources
from taiyi_ray.tasks.options import read_file

_LUCKLESS = 2
"""When so many executions in a row commit nothing, the build ends."""


def run(config: InstructConfig, *, unit_documents: int = plan.UNIT_DOCUMENTS) -> int:
    """Build instruction data; return the exit code 0.

    Args:
        config: the settings of the command.
        unit_documents: the most documents of a file that is planned now.

    Raises:
        ConfigError, StorageError: the user must change something.
        Unfinished: the build ended before all was done; the same command continues it.
        KeyboardInterrupt: Ctrl-C or SIGTERM interrupted it; the same command continues it.
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    root = DataRoot(config.data_root)
    output = storage.absolute(config.output)
    options = read_file(config.task_file) if config.task_file else {}
    held_out = plan.held_out_splits(config)
    chosen, notes = plan.choose(config, root, options, held_out)
    for note in notes:
        console.print(f"note: {note}")
    storage.probe(output)
    compared, unchecked = plan.compared(held_out, root)
    if unchecked:
        console.print(
            f"note: nothing is compared with {', '.join(unchecked)}: they are not in the data root"
        )
    identity = plan.identity(config, chosen, options, compared)
    read = [*((one.entry, split) for one in chosen for split in one.splits), *compared]
    build = plan.load_build(output)
    if build is not None:
        _check_same(config, build, identity, read, root)
    if build is None or _pending(build, output):
        with (
            cluster.connected(cluster.Workers(Resources(1, 0), config.workers or 1, "a worker")),
            terminable(),
        ):
            if build is None:
                console.print(f"reading {len(chosen)} datasets to plan the build ...")
                files = inputs(read, root)
                scanning = _scanning(root.address, config)
                made, trained = plan.parts(chosen, config, options, scanning, unit_documents)
                build = Build(
                    identity=identity,
                    inputs=files,
                    unchecked=unchecked,
                    held_out=_keep(output, "held_out", _index(compared, root.address).to_bytes()),
                    trained=_keep(output, "trained", trained.to_bytes()),
                    parts=made,
                )
                build = _put(output, build)
                _check_same(config, build, identity, read, root)
            _work(config, root.address, build, console)
    if (form := plan.asking_form(build)) is not None:
        models.write_asking_form(output, form)
    written = manifest.write(output, build)
    console.print(tables.table(written))
    for line in tables.empty(written):
        console.print(f"note: {line}")
    if written["unexpected"]:
        console.print(
            "note: not as many documents as the catalogue expects: "
            f"{', '.join(written['unexpected'])} (`taiyi-ray datasets check` says more)"
        )
    console.print(f"{config.output}: report.html shows the mixture")
    return 0


def _check_same(
    config: InstructConfig,
    build: Build,
    identity: dict[str, Any],
    read: Sequence[tuple[Entry, Split]],
    root: DataRoot,
) -> None:
    """Raise ConfigError unless a build is that of these settings, of these datasets and files."""
    changed = _differences(build.identity, identity)
    if not changed and (files := changes(build.inputs, read, root)):
        more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
        raise ConfigError(
            f"{config.output}: belongs to a build with other files: {files[0]}{more}; put back "
            "what was there, or use another --output"
        )
    if changed:
        raise ConfigError(
            f"{config.output}: belongs to a build with other {', '.join(changed)}; use the same "
            "settings and corpora, or another --output"
        )


def _keep(output: str, what: str, data: bytes) -> str:
    """Put what a plan refers to under a name of its content, which no other plan can spoil."""
    name = f"_{what}-{plan.digest(data)}.npy"
    storage.put_if_absent(storage.join(output, name), data)
    return name


def _put(output: str, build: Build) -> Build:
    """Put the plan of a build, and return the one that stands: another process may be first."""
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


def _index(held_out: Iterable[tuple[Entry, Split]], root: str) -> Index:
    """Make the index of what nothing trains on; the cluster reads the splits side by side."""
    import ray

    task: Any = ray.remote(num_cpus=1)(read_held_out)
    read = [task.remote(entry.name, split, root) for entry, split in held_out]
    return Index.of(one for of_split in read for one in cluster.result(of_split))


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two identities, in words."""
    begun = completed(old["settings"], new["settings"], InstructConfig)
    found = [
        name
        for name in sorted(begun.keys() | new["settings"].keys())
        if begun.get(name) != new["settings"].get(name)
    ]
    for what, name in (
        ("dataset", "entries"), ("format", "formats"), ("task", "tasks"), ("test set", "held_out")
    ):  # fmt: skip
        found += [
            f"{what} {one}"
            for one in sorted(old[name].keys() | new[name].keys())
            if old[name].get(one) != new[name].get(one)
        ]
    return found


def _scanning(root: str, config: InstructConfig) -> plan.Scan:
    def scan(wanted: Iterable[tuple[str, str]]) -> Iterator[plan.Scanned]:
        import ray

        task: Any = ray.remote(num_cpus=1)(plan.scan)
        yield from map(cluster.result, [task.remote(*one, root, config.limit) for one in wanted])

    return scan


def _work(config: InstructConfig, data_root: str, build: Build, console: Console) -> None:
    """Execute the pending units until there are none.

    Args:
        config: the settings.
        data_root: the address of the folder of the corpora.
        build: the plan.
        console: shows the progress.
    """
    output = storage.absolute(config.output)
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
            for receipt in _execute(pending, config, data_root, build):
                if receipt["error"] and not receipt["gone"]:
                    raise ConfigError(receipt["error"])
                progress.advance(bar, receipt["documents"])


def _execute(
    pending: Sequence[tuple[Part, Unit]], config: InstructConfig, data_root: str, build: Build
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
            "data_root": data_root,
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
                    "output": storage.absolute(config.output),
                    "seed": config.seed,
                    "overlap": config.overlap,
                    "held_out": build.held_out,
                    "trained": build.trained,
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
