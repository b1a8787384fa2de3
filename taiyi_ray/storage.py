"""Places to read and write, local or any fsspec address: whole objects, put if absent, listed.

An object's existence is a commit, so nothing is ever renamed, locked or written in part. Whatever
a file system raises becomes a StorageError that names the place.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from taiyi_ray.errors import StorageError

_BEGIN, _END = ".taiyi_ray-", ".tmp"
"""How the name of a file that is still being written begins and ends."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a listing shows it; `tag` changes with its content (ETag, or time of change)."""

    path: str
    size: int
    tag: str


def _open_place(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        # A remembered listing would not show what other processes wrote.
        filesystem, inner = fsspec.core.url_to_fs(path, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{path}: no such kind of place ({error})") from error
    return filesystem, inner


@contextmanager
def _access(path: str, what: str) -> Iterator[None]:
    """Say what cannot be done with which place, whoever finds out."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: cannot be {what} ({error.strerror or error})") from error
    except Exception as error:
        from botocore.exceptions import BotoCoreError  # slow to import

        if not isinstance(error, BotoCoreError):
            raise
        raise StorageError(f"{path}: cannot be {what} ({error})") from error


def _stored(path: str, info: dict[str, object]) -> Stored:
    tag = info.get("ETag") or info.get("mtime") or info.get("LastModified") or ""
    return Stored(path, int(cast(int, info["size"])), str(tag).strip('"'))


def join(place: str, *parts: str) -> str:
    return "/".join([place.rstrip("/"), *parts])


def absolute(path: str) -> str:
    """The full address: an absolute path without `..`, or the URL as it is."""
    return path if "://" in path else os.path.normpath(Path(path).absolute())


def open_read(path: str) -> BinaryIO:
    """Open an object for reading; raises StorageError when it is not there or not readable."""
    filesystem, inner = _open_place(path)
    with _access(path, "read"):
        return cast(BinaryIO, filesystem.open(inner, "rb"))


def read(path: str) -> bytes | None:
    """Return a whole object, or None when there is none."""
    filesystem, inner = _open_place(path)
    with _access(path, "read"):
        try:
            return cast(bytes, filesystem.cat_file(inner))
        except FileNotFoundError:
            return None


def stat(path: str) -> Stored:
    """Return size and tag of one object; raises StorageError when it is not there."""
    filesystem, inner = _open_place(path)
    with _access(path, "read"):
        return _stored(path, filesystem.info(inner))


def walk(place: str) -> Iterator[Stored]:
    """Yield all objects below a place, in order of their paths; nothing when it does not exist.

    Local links are followed; a file that is still being written is not there yet.
    """
    filesystem, inner = _open_place(place)
    found: dict[str, dict[str, object]] = {}
    if isinstance(filesystem, LocalFileSystem):
        with _access(place, "listed"):
            paths = list(_local_files(inner))
        for path in paths:
            with _access(path, "read"):
                found[path] = filesystem.info(path)
    else:
        with _access(place, "listed"):
            found = filesystem.find(inner, detail=True)
    for path in sorted(found):
        address = cast(str, filesystem.unstrip_protocol(path)) if "://" in place else path
        yield _stored(address, found[path])


def _local_files(root: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    seen: set[str] = set()
    for parent, folders, names in os.walk(root, onerror=fail, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to what is above it, or a second one to the same folder
            folders.clear()
            continue
        seen.add(real)
        folders.sort()  # which of two links counts does not depend on the disk
        for name in names:
            if not (name.startswith(_BEGIN) and name.endswith(_END)):
                yield f"{parent}/{name}"


def glob(pattern: str) -> list[str]:
    """Return the paths that match a pattern, sorted."""
    filesystem, inner = _open_place(pattern)
    with _access(pattern, "listed"):
        found = sorted(cast(list[str], filesystem.glob(inner)))
    return [cast(str, filesystem.unstrip_protocol(p)) for p in found] if "://" in pattern else found


def is_folder(path: str) -> bool:
    filesystem, inner = _open_place(path)
    with _access(path, "read"):
        return bool(filesystem.isdir(inner))


def exists(path: str) -> bool:
    filesystem, inner = _open_place(path)
    with _access(path, "read"):
        return bool(filesystem.exists(inner))


def put_if_absent(path: str, data: bytes) -> bool:
    """Write a whole object unless there is one; return whether this call wrote it.

    Atomic: readers see all of it or nothing, and of several writers one wins. Locally a temporary
    file is synced and linked to its name; elsewhere the store must know `If-None-Match`
    (fsspec's `mode="create"`).
    """
    filesystem, inner = _open_place(path)
    with _access(path, "written"):
        if not isinstance(filesystem, LocalFileSystem):
            try:
                filesystem.pipe_file(inner, data, mode="create")
            except FileExistsError:
                return False
            return True
        with _written_beside(Path(inner), data) as temporary:
            try:
                os.link(temporary, inner)
            except FileExistsError:
                return False
        _sync_folder(Path(inner).parent)
        return True


def replace(path: str, data: bytes) -> None:
    """Write a whole object in place of the one there, atomically."""
    filesystem, inner = _open_place(path)
    with _access(path, "written"):
        if not isinstance(filesystem, LocalFileSystem):
            filesystem.pipe_file(inner, data)
            return
        with _written_beside(Path(inner), data) as temporary:
            temporary.replace(inner)
        _sync_folder(Path(inner).parent)


@contextmanager
def written(path: str) -> Iterator[BinaryIO]:
    """Open a file to be written to a place, which has all of it in the end, or what it had before.

    It is a local one until then, wherever the place is: so it can be of any size.
    """
    filesystem, inner = _open_place(path)
    local = isinstance(filesystem, LocalFileSystem)
    with _access(path, "written"):
        if local:
            Path(inner).parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(_END, _BEGIN, Path(inner).parent if local else None)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if local:
                Path(name).chmod(0o644)
                Path(name).replace(inner)
                _sync_folder(Path(inner).parent)
            else:
                filesystem.put_file(name, inner)
        finally:
            with suppress(FileNotFoundError):
                Path(name).unlink()


@contextmanager
def _written_beside(path: Path, data: bytes) -> Iterator[Path]:
    """A synced temporary file in the folder of `path`; what is left of it in the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(_END, _BEGIN, path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
