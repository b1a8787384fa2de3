"""The input of a corpus job: its files, how they are called, and whether they changed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

from taiyi_ray import storage
from taiyi_ray.errors import ConfigError
from taiyi_ray.formats import FORMATS, beside, format_of
from taiyi_ray.formats.format import MAX_RECORD_BYTES

_LONGEST_NAME = 150


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the input. `name` is its folder below OUT/annotations."""

    name: str
    stored: storage.Stored


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files of the input that can be read, in order, and how many others were passed over."""

    files: list[SourceFile]
    passed_over: int


def find(inputs: Sequence[str]) -> Corpus:
    """Expand files, folders (recursive) and globs; what is hidden is only read when it is named.

    Raises:
        ConfigError: an input that does not exist, matches nothing, or is of no known format.
    """
    found: dict[str, SourceFile] = {}
    passed_over: set[str] = set()
    for given in inputs:
        files, root, chosen = _expand(given)
        # The text of annotations is read with them, it is no source of its own.
        parts = {path for file in files for path in beside(file.path)}
        whole = [file for file in files if chosen or file.path not in parts]
        readable = [file for file in whole if format_of(file.path)]
        passed_over |= {file.path for file in whole} - {file.path for file in readable}
        if not readable:
            endings = dict.fromkeys(s for f in FORMATS for s in f.suffixes)
            known = ", ".join(s + "[.gz]" for s in endings)
            what = "is not of a known format" if chosen else "holds no file of a known format"
            raise ConfigError(f"{given}: {what} (known: {known})")
        for file in readable:
            name = source_name(file.path, root)
            found.setdefault(file.path, SourceFile(name, file))
    return Corpus(list(found.values()), len(passed_over))


def _expand(given: str) -> tuple[list[storage.Stored], str, bool]:
    """Return the files, the root that their names start from, and whether one file was named."""
    address = storage.absolute(given)
    if storage.is_folder(address):
        return [f for f in storage.walk(address) if not _hidden(f.path, address)], address, False
    if storage.exists(address):
        return [storage.stat(address)], address.rpartition("/")[0], True
    if any(c in given for c in "*?["):
        root = address[: min(address.find(c) for c in "*?[" if c in address)].rpartition("/")[0]
        matches = [p for p in storage.glob(address) if not _hidden(p, root)]
        paths = [p for p in matches if not storage.is_folder(p)]
        if not paths:
            raise ConfigError(f"{given}: the pattern matches no file")
        return [storage.stat(p) for p in paths], root, False
    raise ConfigError(f"{given}: no such file or folder")


def _hidden(path: str, root: str) -> bool:
    return any(part.startswith(".") for part in path[len(root) :].split("/"))


def source_name(path: str, root: str) -> str:
    """Name of a source: its path below the root, percent-encoded, and 8 digits of its address.

    The digits keep equal names below different roots apart; a very long path keeps its end. Many
    readers of Parquet pass over folders that begin with `.` or `_`: these are encoded too.
    """
    below = quote(path.removeprefix(root).lstrip("/"), safe="")[-_LONGEST_NAME:]
    if below[0] in "._":
        below = f"%{ord(below[0]):02X}{below[1:]}"
    digits = hashlib.sha256(path.encode()).hexdigest()[:8]
    return f"{below}-{digits}"


def read_beside(path: str) -> bytes | None:
    """Read a file that belongs to a source, no more of it than shows that it is too large."""
    return storage.read(path, MAX_RECORD_BYTES + 1)


def digest(path: str) -> str | None:
    """SHA-256 of a local file; None elsewhere, where the ETag serves."""
    if "://" in path:
        return None
    with storage.open_read(path) as file:
        return hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest()


def check_unchanged(now: storage.Stored, size: int, tag: str, sha256: str | None) -> None:
    """Raise ConfigError when a source is not what it was when its units were planned.

    A local file that was only touched or copied is still the same: its digest decides.
    """
    if (now.size, now.tag) == (size, tag):
        return
    if now.size == size and sha256 is not None and digest(now.path) == sha256:
        return
    raise ConfigError(
        f"{now.path}: changed since its units were planned; give the new file another name, "
        "or write to another --output"
    )
