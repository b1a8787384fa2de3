"""The files of an entry below a data root, and those inside archives."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from typing import IO, BinaryIO, cast

from fsspec.utils import glob_translate

from taiyi_ray import storage
from taiyi_ray.catalogue.entry import SPLITS, Archived, Entry, Layout, Split, SplitFiles
from taiyi_ray.errors import ConfigError
from taiyi_ray.formats import Read, read_beside
from taiyi_ray.formats.format import MAX_RECORD_BYTES
from taiyi_ray.formats.gunzip import Gunzip
from taiyi_ray.storage import Stored


class DataRoot:
    """A folder below which the corpora of a user lie; it is listed once.

    Args:
        address: a path, or `s3://bucket/prefix`.
    """

    def __init__(self, address: str | PathLike[str]) -> None:
        self.address = storage.absolute(fspath(address))
        self._matched: dict[str, tuple[str, ...]] = {}

    @cached_property
    def stored(self) -> dict[str, Stored]:
        """All files, by their names below the folder."""
        if not storage.is_folder(self.address):
            raise ConfigError(f"--data-root {self.address}: no such folder")
        start = len(storage.join(self.address, ""))
        return {stored.path[start:]: stored for stored in storage.walk(self.address)}

    def matching(self, pattern: str) -> tuple[str, ...]:
        """The names that match a pattern, in order."""
        if pattern not in self._matched:
            self._matched[pattern] = _matching(pattern, self.stored)
        return self._matched[pattern]

    def address_of(self, name: str) -> str:
        """The address of a file below the folder."""
        return storage.join(self.address, name)

    def has(self, files: SplitFiles) -> bool:
        """Whether every file and archive that a split wants is here; archives are not opened."""
        return not self.lacking(files)

    def lacking(self, files: SplitFiles) -> list[str]:
        """The patterns of a split that nothing here matches."""
        return [pattern for pattern in _patterns(files) if not self.matching(pattern)]

    def read_for(self, files: SplitFiles) -> list[str]:
        """The names of all files and archives that are read for a split, in order."""
        return [name for pattern in _patterns(files) for name in self.matching(pattern)]

    def layouts(self, entry: Entry) -> dict[Split, Layout]:
        """The layout in which each split of an entry is read, of the splits that are here.

        That is the layout of which most splits are here, and for a split that it lacks the first
        other one that has it.
        """
        here = [
            (layout, {split for split, files in layout.splits.items() if self.has(files)})
            for layout in entry.layouts
        ]
        ranked = sorted(here, key=lambda item: -len(item[1]))
        first = {split: layout for layout, splits in reversed(ranked) for split in splits}
        return {split: first[split] for split in SPLITS if split in first}

    def splits(self, entry: Entry) -> tuple[Split, ...]:
        """The splits of an entry that are here."""
        return tuple(self.layouts(entry))


def _patterns(files: SplitFiles) -> list[str]:
    wanted = [f.archive if isinstance(f, Archived) else f for f in files.files]
    return wanted + [pattern for pattern in (files.ids, files.without_ids) if pattern]


def _matching(pattern: str, names: Iterable[str]) -> tuple[str, ...]:
    matches = re.compile(glob_translate(pattern)).match
    return tuple(name for name in names if matches(name))


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file, of the data root or of an archive in it.

    Attributes:
        name: its name below the data root; of a member of an archive, behind the archive's name.
        path: its address, or the name inside the archive: its ending tells whether it is zipped.
        stream: its bytes.
        beside: reads the files that lie beside it.
    """

    name: str
    path: str
    stream: BinaryIO
    beside: Read


def opened(entry: Entry, files: SplitFiles, root: DataRoot) -> Iterator[Opened]:
    """Open the files of a split, one after the other.

    Args:
        entry: the entry, for errors.
        files: the files of the split; all are in the data root.
        root: the data root.

    Raises:
        ConfigError: an archive lacks members that the entry names, or is no archive.
    """
    for wanted in files.files:
        if isinstance(wanted, Archived):
            for name in _each_once(entry, root.matching(wanted.archive)):
                with _archive(entry, name, root) as archive:
                    yield from archive.opened(entry, wanted.members)
            continue
        for name in _each_once(entry, root.matching(wanted)):
            address = root.address_of(name)
            with storage.open_read(address) as stream:
                yield Opened(name, address, stream, read_beside)


def _each_once(entry: Entry, names: Sequence[str]) -> Sequence[str]:
    """Return the names of files, all of which differ; a copy would give each document twice."""
    seen: dict[str, str] = {}
    for name in names:
        plain = name.rpartition("/")[2].removesuffix(".gz")
        if (other := seen.setdefault(plain, name)) != name:
            raise ConfigError(
                f"{entry.name}: {other} and {name} are the same file twice; take one away, or name "
                "a folder that holds one of them as --data-root"
            )
    return names


class _Archive:
    """An open zip or tar archive.

    Args:
        name: its name below the data root.
        members: the names of the files in it.
        open_member: opens one of them.
    """

    def __init__(
        self, name: str, members: Iterable[str], open_member: Callable[[str], IO[bytes]]
    ) -> None:
        self._name = name
        self._members = dict.fromkeys(sorted(members))
        self._open = open_member

    def opened(self, entry: Entry, patterns: Sequence[str]) -> Iterator[Opened]:
        """Open the members that match, one after the other."""
        for pattern in patterns:
            names = _matching(pattern, self._members)
            if not names:
                raise ConfigError(
                    f"{entry.name}: {self._name} has no member {pattern!r}; "
                    f"get it anew{_at(entry)}, or correct {entry.file}"
                )
            for name in names:
                with self._open(name) as stream:
                    yield Opened(f"{self._name}/{name}", name, cast(BinaryIO, stream), self._read)

    def _read(self, path: str) -> bytes | None:
        if path not in self._members:
            return None
        with self._open(path) as stream:
            return stream.read(MAX_RECORD_BYTES + 1)


@contextmanager
def _archive(entry: Entry, name: str, root: DataRoot) -> Iterator[_Archive]:
    try:
        with storage.open_read(root.address_of(name)) as stream, ExitStack() as stack:
            if zipfile.is_zipfile(stream):
                stream.seek(0)
                packed = stack.enter_context(zipfile.ZipFile(stream))
                names = [info.filename for info in packed.infolist() if not info.is_dir()]
                yield _Archive(name, names, packed.open)
                return
            stream.seek(0)
            # Members of a compressed archive can only be read in order; those of a plain one can
            # be read in any, so that a file and the files beside it may lie apart.
            plain = stack.enter_context(tempfile.TemporaryFile())
            unzipped = Gunzip(stream) if name.endswith("gz") else stream
            shutil.copyfileobj(cast(BinaryIO, unzipped), plain)
            if isinstance(unzipped, Gunzip) and unzipped.damage:
                raise tarfile.ReadError(unzipped.damage)
            plain.seek(0)
            tar = stack.enter_context(tarfile.open(fileobj=plain, mode="r:"))
            members = {info.name: info for info in tar if info.isfile()}
            yield _Archive(name, members, lambda member: _extracted(tar, members[member]))
    except (zipfile.BadZipFile, tarfile.TarError, RuntimeError) as error:
        # zipfile raises RuntimeError for what needs a password or is packed in an unknown way.
        raise ConfigError(
            f"{entry.name}: {name}: is damaged, or no zip or tar archive ({error}); "
            f"get it anew{_at(entry)}"
        ) from error


def _extracted(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(member)
    assert stream is not None  # it is a file
    return stream


def _at(entry: Entry) -> str:
    return f" at {entry.address}" if entry.address else ""
