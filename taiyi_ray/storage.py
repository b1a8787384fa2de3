"""Places to read and write, local or any fsspec address: whole objects, put if absent, listed.

An object's existence is a commit, so nothing is ever renamed, locked or written in part.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from taiyi_ray.errors import StorageError


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a listing shows it. `tag` changes when the content does (ETag, or time of change)."""

    path: str
    size: int
    tag: str


def _open_place(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        filesystem, inner = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{path}: no such kind of place ({error})") from error
    return filesystem, inner


def _stored(path: str, info: dict[str, object]) -> Stored:
    tag = info.get("ETag") or info.get("mtime") or info.get("LastModified") or ""
    return Stored(path, int(cast(int, info["size"])), str(tag).strip('"'))


def join(place: str, *parts: str) -> str:
    return "/".join([place.rstrip("/"), *parts])


def absolute(path: str) -> str:
    """The full address: an absolute path, or the URL as it is."""
    return path if "://" in path else str(Path(path).absolute())


def open_read(path: str) -> BinaryIO:
    """Open an object for reading; raises StorageError when it is not there or not readable."""
    filesystem, inner = _open_place(path)
    try:
        return cast(BinaryIO, filesystem.open(inner, "rb"))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror or error})") from error


def read(path: str) -> bytes | None:
    """Return a whole object, or None when there is none."""
    filesystem, inner = _open_place(path)
    try:
        return cast(bytes, filesystem.cat_file(inner))
    except FileNotFoundError:
        return None


def stat(path: str) -> Stored:
    """Return size and tag of one object; raises StorageError when it is not there."""
    filesystem, inner = _open_place(path)
    try:
        return _stored(path, filesystem.info(inner))
    except FileNotFoundError as error:
        raise StorageError(f"{path}: no such file") from error


def walk(place: str) -> Iterator[Stored]:
    """Yield all objects below a place, in order of their paths; nothing when it does not exist."""
    filesystem, inner = _open_place(place)
    found = filesystem.find(inner, detail=True)
    for path in sorted(found):
        yield _stored(cast(str, filesystem.unstrip_protocol(path)) if "://" in place else path, found[path])


def glob(pattern: str) -> list[str]:
    """Return the paths that match a pattern, sorted."""
    filesystem, inner = _open_place(pattern)
    found = sorted(cast(list[str], filesystem.glob(inner)))
    return [cast(str, filesystem.unstrip_protocol(p)) for p in found] if "://" in pattern else found


def is_folder(path: str) -> bool:
    filesystem, inner = _open_place(path)
    return bool(filesystem.isdir(inner))


def exists(path: str) -> bool:
    filesystem, inner = _open_place(path)
    return bool(filesystem.exists(inner))


def put_if_absent(path: str, data: bytes) -> bool:
    """Write a whole object unless there is one; return whether this call wrote it.

    Atomic: readers see all of it or nothing, and of several writers one wins. Locally a temporary
    file is synced and linked to its name; elsewhere the store must know `If-None-Match`
    (fsspec's `mode="create"`).
    """
    filesystem, inner = _open_place(path)
    if not isinstance(filesystem, LocalFileSystem):
        try:
            filesystem.pipe_file(inner, data, mode="create")
        except FileExistsError:
            return False
        return True
    temporary = _write_beside(Path(inner), data)
    try:
        os.link(temporary, inner)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    _sync_folder(Path(inner).parent)
    return True


def replace(path: str, data: bytes) -> None:
    """Write a whole object in place of the one there, atomically."""
    filesystem, inner = _open_place(path)
    if not isinstance(filesystem, LocalFileSystem):
        filesystem.pipe_file(inner, data)
        return
    _write_beside(Path(inner), data).replace(inner)
    _sync_folder(Path(inner).parent)


def _write_beside(path: Path, data: bytes) -> Path:
    """Write and sync a hidden temporary file in the folder of `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
    return Path(name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
