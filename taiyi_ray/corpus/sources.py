"""The files of an input as sources: which there are, their names, and whether they changed.

An output of this program that lies in a folder of the input is not read as input. SOURCE_KINDS
names this kind of source and the others.
"""

from __future__ import annotations

import hashlib
import io
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import quote

from taiyi_ray import storage
from taiyi_ray.corpus.output import JOB, OUTPUT_PARTS, is_output
from taiyi_ray.corpus.source import FILE, PlannedSource, Scanned, Source, SourceState
from taiyi_ray.errors import ConfigError
from taiyi_ray.formats import (
    beside,
    documents,
    endings,
    format_of,
    named,
    raw_records,
    read_beside,
    recognised,
)
from taiyi_ray.records import Document
from taiyi_ray.tasks.task import Assignment

_LONGEST_NAME = 150

_SHOWN = 3
"""A note names at most this many of the files that are passed over."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A source that is a file; `source.Source` says what its methods do.

    Attributes:
        name: the source's folder below OUT/annotations.
        stored: the file's address, size and tag.
        beside: the files that belong to it (`formats.beside`).
        md5: address of the file that tells its MD5, if there is one or may be one; else empty.
    """

    name: str
    stored: storage.Stored
    beside: tuple[storage.Stored, ...] = ()
    md5: str = field(default="", compare=False)

    @classmethod
    def of(cls, planned: PlannedSource) -> SourceFile:
        """Ask the storage for the present state of a planned file.

        Raises:
            StorageError: the file is gone, or cannot be read.
        """
        return cls(planned.name, storage.stat(planned.path), _beside(planned.path))

    @property
    def kind(self) -> str:
        """The kind of a file."""
        return FILE

    @property
    def address(self) -> str:
        """The address of the file, links of its folder followed."""
        return storage.real(self.stored.path)

    @property
    def size(self) -> int:
        """The bytes of the file."""
        return self.stored.size

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """No tasks: the run says what to ask about files."""
        return ()

    def state(self) -> SourceState:
        """Return the state of the file and of those that belong to it.

        A local file is read whole for its digest.
        """
        return _state(self.stored, [_state(other) for other in self.beside])

    def record_sizes(self, first: int = 0, most: int | None = None) -> Scanned:
        """Tell the format by name and first bytes, and scan the file from its beginning.

        Raises:
            ConfigError: the file is not the one that its `.md5` tells of.
        """
        path, sizes = self.stored.path, array("I")
        if self.md5 and not first:  # else its beginning is planned already
            _check_md5(path, self.md5)
        with storage.open_read(path) as stream:
            format_ = recognised(path, stream)
            assert format_ is not None
            for position, record in enumerate(raw_records(stream, path, format_, read_beside)):
                if position < first:
                    continue
                if most is not None and len(sizes) >= most:
                    return Scanned(format_.name, sizes, False)
                sizes.append(record.size)
        return Scanned(format_.name, sizes, True)

    def check_unchanged(self, planned: SourceState) -> None:
        """Check that the file and those that belong to it are what they were when planned.

        A local file that was only touched or copied counts as unchanged: its digest decides.

        Raises:
            ConfigError: the file or one that belongs to it changed, came or went.
        """
        _check_file(planned, self.stored)
        if planned.beside is None:
            return
        before = {storage.real(file.path): file for file in planned.beside}
        now = {storage.real(file.path): file for file in self.beside}
        for path in sorted(before.keys() ^ now.keys()):
            raise ConfigError(
                f"{path}: was {'added' if path in now else 'removed'} after the units of "
                f"{self.stored.path}, which it belongs to, were planned; {_WAY_OUT}"
            )
        for path, file in before.items():
            _check_file(file, now[path])

    @contextmanager
    def documents(
        self, format_name: str, first: int, last: int, columns: Mapping[str, str]
    ) -> Iterator[Iterator[Document]]:
        """Open the file, and yield its documents; all before the first are scanned too."""
        path = self.stored.path
        with storage.open_read(path) as stream:
            yield documents(
                stream, path, named(format_name), self.name, first, last,
                read=read_beside, columns=columns,
            )  # fmt: skip


SourceKinds = Mapping[str, Callable[[PlannedSource], Source]]
"""How a planned source is looked up again, by the name of its kind."""

SOURCE_KINDS: dict[str, Callable[[PlannedSource], Source]] = {FILE: SourceFile.of}
"""The kinds of sources. A feature whose sources are of another kind adds an entry; the job hands
this table to the processes that read sources."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files of the input that can be read, and what of the input is not read.

    Attributes:
        files: the files to read, in order.
        passed_over: number of files of other formats.
        strange: paths that no file can be read from: pipes, devices, names that are not UTF-8.
        outputs: outputs of this program that hold some files of the input; these are not read.
    """

    files: list[SourceFile]
    passed_over: int
    strange: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """Return a line for each kind of thing that is not read."""
        notes = [f"left out {output}, an output of taiyi-ray" for output in self.outputs]
        if self.strange:
            some = ", ".join(map(repr, self.strange[:_SHOWN]))
            more = f" and {len(self.strange) - _SHOWN} more" if len(self.strange) > _SHOWN else ""
            notes.append(
                "passed over what is not a regular file, or has a name that is not UTF-8: "
                f"{some}{more}"
            )
        if self.passed_over:
            notes.append(f"passed over {self.passed_over} files of other formats")
        return notes


def find(inputs: Sequence[str], output: str | None = None) -> Corpus:
    """Expand files, folders (recursive) and globs; a hidden file is only read when it is named.

    A file that more than one input holds, in any spelling of its address, counts once: it belongs
    to the first of these inputs.

    Args:
        inputs: files, folders and globs, as the user gave them.
        output: address that the job writes to. Files that the job wrote there are not read. Another
            output of this program is not read either, unless an input names a file or folder in it.

    Raises:
        ConfigError: an input does not exist, matches nothing, or holds no file of a known format.
    """
    files: dict[str, SourceFile] = {}
    passed_over: set[str] = set()
    strange: dict[str, None] = {}
    outputs: dict[str, None] = {}
    for given in inputs:
        expanded = _expand(given)
        strange.update(dict.fromkeys(expanded.strange))
        real = {file.path: storage.real(file.path) for file in expanded.files}
        inside = _outputs(expanded, real, output)
        outputs.update(dict.fromkeys(inside))
        ours = tuple(part for parts in inside.values() for part in parts)
        theirs = [f for f in expanded.files if not f"{real[f.path]}/".startswith(ours)]
        # A file that belongs to another one is read with it: it is no source of its own.
        parts = {path for file in theirs for path in beside(file.path)}
        whole = [file for file in theirs if expanded.chosen or file.path not in parts]
        readable = [file for file in whole if format_of(file.path)]
        passed_over |= {
            real[file.path]
            for file in whole
            if not format_of(file.path) and not file.path.endswith(_MD5)
        }
        if not readable:
            raise ConfigError(f"{given}: {_nothing_to_read(expanded, list(inside))}")
        listed = {file.path: file for file in theirs} if expanded.whole else None
        for file in readable:
            if real[file.path] not in files:
                name = source_name(file.path, expanded.root)
                md5 = file.path + _MD5
                files[real[file.path]] = SourceFile(
                    name,
                    file,
                    _beside(file.path, listed),
                    md5 if listed is None or md5 in listed else "",
                )
    return Corpus(list(files.values()), len(passed_over), tuple(strange), tuple(outputs))


def _nothing_to_read(expanded: _Expanded, inside: Sequence[str]) -> str:
    if inside:
        return (
            f"holds no file of a known format besides what taiyi-ray wrote in {', '.join(inside)}; "
            "to annotate the rows of another output, name its folder annotations"
        )
    what = "is not of a known format" if expanded.chosen else "holds no file of a known format"
    return f"{what} (known: {endings()})"


def _beside(
    path: str, listed: Mapping[str, storage.Stored] | None = None
) -> tuple[storage.Stored, ...]:
    """Return those files that belong to a source and exist.

    `listed` is a listing of all files by path; without it the storage is asked for each file.
    """
    paths = sorted(beside(path))
    if listed is not None:
        return tuple(listed[other] for other in paths if other in listed)
    return tuple(storage.stat(other) for other in paths if storage.exists(other))


# ------------------------------------------------------------------------------- what an input is


@dataclass(frozen=True, slots=True)
class _Expanded:
    """The files that an input stands for.

    Attributes:
        files: the files.
        root: folder; the sources are named by their paths below it.
        chosen: whether the input named one file.
        whole: whether `files` are all files below the root (but hidden ones).
        strange: paths of a known format's ending that no file can be read from.
    """

    files: list[storage.Stored]
    root: str
    chosen: bool = False
    whole: bool = False
    strange: tuple[str, ...] = ()


def _expand(given: str) -> _Expanded:
    address = storage.absolute(given)
    if storage.is_folder(address):
        strange: list[str] = []
        below = [f for f in storage.walk(address, strange) if not _hidden(f.path, address)]
        return _Expanded(below, address, whole=True, strange=_sources_else(strange, address))
    if storage.exists(address):
        return _Expanded([storage.stat(address)], address.rpartition("/")[0], chosen=True)
    magic = min((given.find(c) for c in "*?[" if c in given), default=None)
    if magic is None:
        raise ConfigError(f"{given}: no such file or folder")
    fixed, slash, _ = given[:magic].rpartition("/")
    root, strange = storage.absolute(fixed + slash or "."), []
    matches = storage.glob(root, given[len(fixed + slash) :], strange)
    files = [file for file in matches if not _hidden(file.path, root)]
    if not files:
        raise ConfigError(f"{given}: the pattern matches no file")
    return _Expanded(files, root, strange=_sources_else(strange, root))


def _sources_else(strange: Iterable[str], root: str) -> tuple[str, ...]:
    """Return those of the paths that would be sources if they were regular files."""
    return tuple(path for path in strange if format_of(path) and not _hidden(path, root))


def _outputs(expanded: _Expanded, real: Mapping[str, str], output: str | None) -> dict[str, _Parts]:
    """Return the outputs that hold some of the files, each with the prefixes of paths to leave out.

    An output below the root is left out whole. When the root is an output itself or lies in the
    job's output, only the files that a job writes are left out: the others are the user's.
    """
    root = storage.real(storage.join(expanded.root, ""))
    outputs = [] if output is None else [storage.absolute(output)]
    if not expanded.chosen:
        outputs += [one for one in _may_be_outputs(expanded, real) if is_output(one)]
    with_parts = {}
    for one in outputs:
        whole = storage.real(storage.join(one, ""))
        below = whole != root and whole.startswith(root)
        parts = (whole,) if below else tuple(f"{whole}{part}/" for part in OUTPUT_PARTS)
        if any(f"{path}/".startswith(parts) for path in real.values()):
            with_parts[one] = parts
    return with_parts


_Parts = tuple[str, ...]


def _may_be_outputs(expanded: _Expanded, paths: Iterable[str]) -> list[str]:
    """Return folders that may be outputs, because a file's path goes through a name of an output.

    `is_output` then reads the job.json of these folders only. When the listing is whole, a folder
    without a listed job.json is no output.
    """
    folders: dict[str, None] = {}
    for path in paths:
        below = f"{path[len(expanded.root) :]}/"
        for part in OUTPUT_PARTS:
            if (at := below.find(f"/{part}/")) >= 0:
                folders[path[: len(expanded.root) + at]] = None
    listed = set(paths)
    return sorted(f for f in folders if not expanded.whole or storage.join(f, JOB) in listed)


def _hidden(path: str, root: str) -> bool:
    return any(part.startswith(".") for part in path[len(root) :].split("/"))


def source_name(path: str, root: str) -> str:
    """Name a source by its path below the root, percent-encoded, and a digest of its address.

    The digest (8 hexadecimal digits) keeps equal paths below different roots apart. Only the end of
    a very long path is kept. A `.` or `_` at the beginning is encoded too, because many readers of
    Parquet pass over folders whose names begin so.
    """
    below = quote(path.removeprefix(root).lstrip("/"), safe="")[-_LONGEST_NAME:]
    if below[0] in "._":
        below = f"%{ord(below[0]):02X}{below[1:]}"
    digits = hashlib.sha256(path.encode()).hexdigest()[:8]
    return f"{below}-{digits}"


def digest(path: str) -> str | None:
    """Return the SHA-256 of a local file; None for a remote object, which has an ETag."""
    return _digest(path, "sha256") if storage.is_local(path) else None


def _digest(path: str, kind: str) -> str:
    with storage.open_read(path) as file:
        return hashlib.file_digest(cast(io.BufferedReader, file), kind).hexdigest()


_MD5 = ".md5"
"""What the name of a file has behind it in the name of the one that tells its MD5, as at NLM."""


def _check_md5(path: str, beside: str) -> None:
    """See that a file is the one that the `.md5` beside it tells of, if there is one.

    That one holds a digest: alone, behind `MD5(name)= ` as NLM writes it, or before the name.

    Args:
        path: the address of the file.
        beside: the address of the `.md5`.

    Raises:
        ConfigError: the file is another one, or the `.md5` holds no digest.
    """
    told = storage.read(beside, 4096)
    if told is None:
        return
    digits = re.search(rb"(?<![0-9a-fA-F])[0-9a-fA-F]{32}(?![0-9a-fA-F])", told)
    if digits is None:
        raise ConfigError(f"{beside}: holds no MD5 digest; fetch it again, or remove it")
    wanted, found = digits[0].decode().lower(), _digest(path, "md5")
    if found != wanted:
        raise ConfigError(
            f"{path}: is damaged or another file: its MD5 is {found}, and {wanted} in the .md5 "
            "beside it; fetch both again"
        )


# ---------------------------------------------------------------------------------- what changes


def _state(stored: storage.Stored, beside: list[SourceState] | None = None) -> SourceState:
    return SourceState(
        path=stored.path,
        size=stored.size,
        tag=stored.tag,
        sha256=digest(stored.path),
        beside=beside,
    )


_WAY_OUT = "give the new file another name, or write to another --output"


def _check_file(known: SourceState, now: storage.Stored) -> None:
    if is_changed(known, now):
        raise ConfigError(f"{now.path}: changed since its units were planned; {_WAY_OUT}")


def is_changed(known: SourceState, now: storage.Stored) -> bool:
    """Whether a file has other content than it had.

    A local file that was only touched or copied has the same: its digest decides.

    Args:
        known: the file as it was.
        now: the file as it is.
    """
    if now.size != known.size:
        return True
    return now.tag != known.tag and (known.sha256 is None or digest(now.path) != known.sha256)
