"""Places to read and write, local or any fsspec address: whole objects, put if absent, listed.

An object's existence is a commit, so nothing is ever renamed, locked or written in part. What may
pass (a busy server, a broken connection) is tried again; whatever a file system raises in the end
becomes a StorageError that names the place.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from tenacity import (
    RetryCallState,
    retry,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from taiyi_ray.errors import StorageError, StorageGone

_log = logging.getLogger(__name__)

T = TypeVar("T")

_BEGIN, _END = ".taiyi_ray-", ".tmp"
"""How the name of a file that is still being written begins and ends."""

_TRIES = 8
_LONGEST_PAUSE = 30.0

_S3: dict[str, Any] = {
    # botocore's own retries come first: 3 quick ones of each request, so that one page of a long
    # listing does not cost the listing. AWS_MAX_ATTEMPTS gives another number.
    "config_kwargs": {
        "retries": {"mode": "standard"},
        "connect_timeout": 10,
        "read_timeout": 60,
        "max_pool_connections": 64,
    },
    "default_block_size": 16 << 20,  # what one request reads of a large object
}
_ONE_PUT = 5 << 30
"""Never a multipart upload, whose parts outlive a killed writer; S3's limit for one put."""

_PASSING_STATUS = frozenset({409, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"RequestTimeout", "BadDigest", "IncompleteBody"})
"""A body that was cut or damaged on its way to the server, which answers 400."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a listing shows it; `tag` changes with its content (ETag, or time of change)."""

    path: str
    size: int
    tag: str


def _open_place(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        # A remembered listing would not show what other processes wrote.
        options = _S3 if path.startswith(("s3://", "s3a://")) else {}
        filesystem, inner = fsspec.core.url_to_fs(path, use_listings_cache=False, **options)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{path}: no such kind of place ({error})") from error
    if options:
        filesystem.retries = 1  # s3fs' own retries, without jitter, would multiply ours
    return filesystem, inner


def _may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later: a busy or absent server, a broken connection."""
    if isinstance(error, FileNotFoundError | FileExistsError | PermissionError):
        return False
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    from aiohttp import ClientError as BrokenOff  # slow to import
    from botocore import exceptions, parsers

    answer = error.__cause__  # s3fs makes an OSError of it
    if isinstance(answer, exceptions.ClientError):
        status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _PASSING_STATUS or answer.response["Error"].get("Code") in _PASSING_CODES
    return isinstance(
        error,
        exceptions.ConnectionError
        | exceptions.HTTPClientError
        | exceptions.IncompleteReadError
        | parsers.ResponseParserError
        | BrokenOff,
    )


def _say(state: RetryCallState) -> None:
    path, what, _ = state.args
    assert state.outcome is not None and state.next_action is not None
    _log.warning(
        "%s: could not be %s (%s); trying again in %.1f seconds",
        path, what, _reason(state.outcome.exception()), state.next_action.sleep,
    )  # fmt: skip


def _reason(error: BaseException | None) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@retry(
    stop=stop_after_attempt(_TRIES),
    wait=wait_random_exponential(max=_LONGEST_PAUSE),
    retry=retry_if_exception(_may_pass),
    before_sleep=_say,
    reraise=True,
)
def _tried(_path: str, _what: str, act: Callable[[], T]) -> T:
    return act()


def _access(path: str, what: str, act: Callable[[], T]) -> T:
    """Do it, again where that may help; say what could not be done with which place."""
    try:
        return _tried(path, what, act)
    except Exception as error:
        if _may_pass(error):
            raise StorageGone(
                f"{path}: cannot be {what} ({_reason(error)}); tried {_TRIES} times"
            ) from error
        if not isinstance(error, OSError):
            from botocore.exceptions import BotoCoreError  # slow to import

            if not isinstance(error, BotoCoreError):
                raise
        raise StorageError(f"{path}: cannot be {what} ({_reason(error)})") from error


def _stored(path: str, info: dict[str, object]) -> Stored:
    tag = info.get("ETag") or info.get("mtime") or info.get("LastModified") or ""
    return Stored(path, int(cast(int, info["size"])), str(tag).strip('"'))


def join(place: str, *parts: str) -> str:
    return "/".join([place.rstrip("/"), *parts])


def absolute(path: str) -> str:
    """The full address: an absolute path without `..`, or the URL as it is."""
    return path if "://" in path else os.path.normpath(Path(path).absolute())


def open_read(path: str) -> BinaryIO:
    """Open an object for reading; raises StorageError when it is not there or not readable.

    A remote object is read in blocks, each tried again by itself and never taken when it is short,
    all of the object that was there when it was opened (by its ETag).
    """
    filesystem, inner = _open_place(path)
    file = _access(path, "read", lambda: filesystem.open(inner, "rb"))
    blocks = getattr(file, "cache", None)
    if blocks is not None:
        fetch = blocks.fetcher

        def whole(start: int, end: int) -> bytes:
            try:
                data = cast(bytes, fetch(start, end))
            except IndexError as error:  # s3fs 2026.9 looks into the arguments of a time-out: none
                raise TimeoutError("no answer in time") from error
            if len(data) != end - start:
                raise ConnectionError(f"{len(data)} of {end - start} bytes came")
            return data

        blocks.fetcher = lambda start, end: _access(path, "read", partial(whole, start, end))
    return cast(BinaryIO, file)


def read(path: str, most: int = -1) -> bytes | None:
    """Return a whole object, or its first `most` bytes; None when there is none."""
    try:
        with open_read(path) as file:
            return file.read(most)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def read_part(path: str, start: int, size: int) -> bytes:
    """Return `size` bytes of an object from `start` on: one request; raises StorageError."""
    filesystem, inner = _open_place(path)

    def part() -> bytes:
        data = cast(bytes, filesystem.cat_file(inner, start=start, end=start + size))
        if len(data) != size:
            raise ConnectionError(f"{len(data)} of {size} bytes came")
        return data

    return _access(path, "read", part) if size else b""


def stat(path: str) -> Stored:
    """Return size and tag of one object; raises StorageError when it is not there."""
    filesystem, inner = _open_place(path)
    return _stored(path, _access(path, "read", lambda: filesystem.info(inner)))


def walk(place: str) -> Iterator[Stored]:
    """Yield all objects below a place, in order of their paths; nothing when it does not exist.

    Local links are followed; a file that is still being written is not there yet.
    """
    filesystem, inner = _open_place(place)
    found: dict[str, dict[str, object]] = {}
    if isinstance(filesystem, LocalFileSystem):
        for path in _access(place, "listed", lambda: list(_local_files(inner))):
            try:
                found[path] = _access(path, "read", partial(filesystem.info, path))
            except StorageError as error:
                gone = isinstance(error.__cause__, FileNotFoundError)
                if not gone or Path(path).is_symlink():  # not removed since, but a link to nothing
                    raise
    else:
        found = _access(place, "listed", lambda: filesystem.find(inner, detail=True))
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
    found = sorted(_access(pattern, "listed", lambda: cast(list[str], filesystem.glob(inner))))
    return [cast(str, filesystem.unstrip_protocol(p)) for p in found] if "://" in pattern else found


def is_folder(path: str) -> bool:
    filesystem, inner = _open_place(path)
    return _access(path, "read", lambda: bool(filesystem.isdir(inner)))


def exists(path: str) -> bool:
    filesystem, inner = _open_place(path)
    return _access(path, "read", lambda: bool(filesystem.exists(inner)))


# ------------------------------------------------------------------------------------------ writing


def put_if_absent(path: str, data: bytes) -> bool:
    """Write a whole object unless there is one; return whether the one there has this data.

    Atomic: readers see all of it or nothing, and of several writers one wins. A store may apply a
    put whose answer is lost, and then refuse the same put: that is why the data decides. Locally a
    temporary file is synced and linked to its name; elsewhere the store must know `If-None-Match`
    (fsspec's `mode="create"`; `probe` finds out).
    """
    filesystem, inner = _open_place(path)
    if isinstance(filesystem, LocalFileSystem):
        return _access(path, "written", lambda: _link(inner, data)) or read(path) == data
    act = partial(filesystem.pipe_file, inner, data, mode="create", chunksize=_ONE_PUT)
    return _put(path, data, act)


def replace(path: str, data: bytes, *, tag: str | None = None) -> bool:
    """Write a whole object in place of the one there, atomically.

    With a `tag` only of the object that has it (`Stored.tag`): on S3 the store compares
    (`If-Match`), elsewhere it is looked up just before. Returns whether the object there has this
    data.
    """
    filesystem, inner = _open_place(path)
    condition = {}
    if tag is not None and "s3" in filesystem.protocol:
        condition["IfMatch"] = f'"{tag}"'
    elif tag is not None and stat(path).tag != tag:
        return read(path) == data
    if isinstance(filesystem, LocalFileSystem):
        _access(path, "written", lambda: _rename(inner, data))
        return True
    act = partial(filesystem.pipe_file, inner, data, chunksize=_ONE_PUT, **condition)
    return _put(path, data, act)


def remove(path: str) -> None:
    """Take an object away, if it is there; what a job committed never is."""
    filesystem, inner = _open_place(path)
    if isinstance(filesystem, LocalFileSystem):
        _access(path, "removed", lambda: Path(inner).unlink(missing_ok=True))
    else:
        _access(path, "removed", lambda: filesystem.rm_file(inner))


def _put(path: str, data: bytes, act: Callable[[], object]) -> bool:
    try:
        _access(path, "written", act)
    except StorageError as error:
        if not _precondition_failed(error.__cause__):
            raise
        return read(path) == data
    return True


def _precondition_failed(error: BaseException | None) -> bool:
    # Not every store says which condition failed, which s3fs looks for.
    response = getattr(error and error.__cause__, "response", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return isinstance(error, FileExistsError) or status == 412


def probe(place: str) -> None:
    """See that objects can be put at a remote place, and not twice.

    It leaves one small object `.probe`, which needs no right to delete. The next probe finds it.

    Raises:
        StorageError: nothing can be written there, or the store ignores `If-None-Match`.
    """
    if isinstance(_open_place(place)[0], LocalFileSystem):
        return
    path = join(place, ".probe")
    put_if_absent(path, b"put once, to see whether the store refuses to put it twice")
    if put_if_absent(path, b"put twice: this store ignores If-None-Match"):
        raise StorageError(
            f"{place}: this store ignores If-None-Match, so that two writers could overwrite each "
            "other; write to one that knows it, as AWS S3 does, or to a local folder"
        )


def _link(path: str, data: bytes) -> bool:
    with _written_beside(Path(path), data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    _sync_folder(Path(path).parent)
    return True


def _rename(path: str, data: bytes) -> None:
    with _written_beside(Path(path), data) as temporary:
        temporary.replace(path)
    _sync_folder(Path(path).parent)


@contextmanager
def written(path: str) -> Iterator[BinaryIO]:
    """Open a file to be written to a place, which has all of it in the end, or what it had before.

    It is a local one until then, wherever the place is: so it can be of any size.
    """
    filesystem, inner = _open_place(path)
    local = isinstance(filesystem, LocalFileSystem)
    folder = Path(inner).parent if local else None
    descriptor, name = _access(path, "written", lambda: _temporary(folder))
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if local:
            _access(path, "written", lambda: _place(Path(name), Path(inner)))
        else:
            _access(path, "written", lambda: filesystem.put_file(name, inner))
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _temporary(folder: Path | None) -> tuple[int, str]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return tempfile.mkstemp(_END, _BEGIN, folder)


def _place(temporary: Path, path: Path) -> None:
    temporary.chmod(0o644)
    temporary.replace(path)
    _sync_folder(path.parent)


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
