"""The files that a build reads, as they were when it was planned: a changed corpus is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from taiyi_ray import catalogue
from taiyi_ray.catalogue import DataRoot, Entry
from taiyi_ray.catalogue.entry import Split
from taiyi_ray.corpus.source import SourceState
from taiyi_ray.corpus.sources import digest, is_changed

Inputs = dict[str, list[SourceState]]
"""The files of splits, by `DATASET/SPLIT`; the path of each is its name below the data root, so
that the folder may move."""


def inputs(wanted: Iterable[tuple[Entry, Split]], root: DataRoot) -> Inputs:
    """Describe the files of splits that are in a data root. Local files are read for a digest."""
    return {
        f"{entry.name}/{split}": [
            SourceState(
                path=name,
                size=stored.size,
                tag=stored.tag,
                sha256=digest(stored.path),
            )
            for name, stored in catalogue.stored(entry, split, root).items()
        ]
        for entry, split in wanted
    }


def changes(
    planned: Mapping[str, Sequence[SourceState]],
    wanted: Iterable[tuple[Entry, Split]],
    root: DataRoot,
) -> list[str]:
    """Say what of the files is not as it was planned, a line for each split and file.

    Args:
        planned: the files as they were planned.
        wanted: the splits that are read now.
        root: the data root.
    """
    now = {f"{entry.name}/{split}": (entry, split) for entry, split in wanted}
    found = [f"{name} has {'come' if name in now else 'gone'}" for name in planned.keys() ^ now]
    for name in planned.keys() & now:
        before = {state.path: state for state in planned[name]}
        here = catalogue.stored(*now[name], root)
        for path in before.keys() ^ here:
            found.append(f"{name}: {path} has {'come' if path in here else 'gone'}")
        for path in before.keys() & here:
            if is_changed(before[path], here[path]):
                found.append(f"{name}: {path} has changed")
    return sorted(found)
