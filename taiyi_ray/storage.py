"""Places to read and write, local or any fsspec address: whole objects, put if absent, listed.

An object's existence is a commit, so nothing is ever renamed or written in part. What may pass (a
busy server, a broken connection) is tried again; whatever a file system raises in the end becomes a
StorageError that names the place.

One place has one address: `absolute` makes it of what a user wrote, and listings give it. Below, an
address is taken letter by letter: no letter of a name (`::`, `#`, `?`, `%`) means anything else.
"""

from __future__ import annotations

import errno
import fcntl
import glob as patterns
import logging
import os
import secrets
import stat as modes
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_IMODE
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

_SCHEMES = {"file": "", "local": "", "s3a": "s3"}
"""What the scheme of an address is called here; the empty one is that of a local path."""

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
    scheme, rest = _split(path)
    if not scheme:
        return LocalFileSystem(), _absolute(rest)
    try:
        # Not fsspec's `url_to_fs`, to which `a::b` is a file inside another one.
        kind = fsspec.get_filesystem_class(scheme)
        options = _S3 if scheme == "s3" else kind._get_kwargs_from_urls(path)
        # A remembered listing would not show what other processes wrote.
        filesystem = kind(**options, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{path}: no such kind of place ({error})") from error
    if scheme == "s3":
        filesystem.retries = 1  # s3fs' own retries, without jitter, would multiply ours
    return filesystem, filesystem._strip_protocol(f"{scheme}://{rest}")


def _split(path: str) -> tuple[str, str]:
    """The scheme of an address, empty for a local path, and what stands behind it."""
    scheme, colon, rest = path.partition("://")
    if not colon or "/" in scheme:
        return "", path
    scheme = scheme.lower()
    return _SCHEMES.get(scheme, scheme), rest


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
    """The one address of a place, of what a user wrote: whatever is kept or compared is this.

    A local path, also behind `file://` or `local://`, is absolute and without `..`; links stay as
    they are (`real` follows them). An address of S3 begins with `s3://`, and neither its bucket nor
    itself ends with slashes. Inside a key `//` and `..` are names like others.
    """
    scheme, rest = _split(path)
    if not scheme:
        return _absolute(rest)
    if scheme != "s3":
        return f"{scheme}://{rest}"
    bucket, _, key = rest.strip("/").partition("/")
    key = key.lstrip("/")
    return f"s3://{bucket}/{key}" if key else f"s3://{bucket}"


def _absolute(path: str) -> str:
    # Two slashes at the beginning stay for POSIX; on Linux they mean nothing.
    return "/" + os.path.normpath(Path(path).absolute()).lstrip("/")


def real(path: str) -> str:
    """The address of the real folder that an object lies in, and its name there.

    Links to folders are other ways to the same objects. A link to a file is a file of its own, as a
    copy would be: its name is one that somebody gave it. (A folder itself has a slash at its end.)
    """
    if not is_local(path):
        return path
    folder, _, name = path.rpartition("/")
    return f"{os.path.realpath(folder or '/').rstrip('/')}/{name}"


def is_local(path: str) -> bool:
    """Whether an address is that of a file or folder of this machine."""
    return not _split(path)[0]


def is_within(path: str, place: str) -> bool:
    """Whether an address is that of a folder, or of something below it, by whatever links."""
    return real(join(path, "")).startswith(real(join(place, "")))


def open_read(path: str) -> BinaryIO:
    """Open an object for reading; raises StorageError when it is not there or not readable.

    What is no regular file is not: a pipe would be waited for.

    A remote object is read in blocks, each tried again by itself and never taken when it is short,
    all of the object that was there when it was opened (by its ETag).
    """
    filesystem, inner = _open_place(path)
    if isinstance(filesystem, LocalFileSystem):
        _access(path, "read", lambda: _check_regular(inner))
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


def _check_regular(path: str) -> None:
    mode = Path(path).stat().st_mode
    if not (modes.S_ISREG(mode) or modes.S_ISDIR(mode)):  # a folder is refused by what opens it
        raise OSError(errno.EINVAL, "is no regular file")


def read_with(path: str, take: Callable[[BinaryIO], T]) -> T:
    """Open an object, return what `take` makes of it; again when it was replaced meanwhile.

    Raises:
        StorageError: as `open_read`, or it was replaced time after time.
    """
    for left in reversed(range(_TRIES)):
        try:
            with open_read(path) as file:
                return take(file)
        except StorageError as error:
            if not (left and _precondition_failed(error.__cause__)):
                raise
    raise AssertionError("the last try returns or raises")


def read(path: str, most: int = -1) -> bytes | None:
    """Return a whole object, or its first `most` bytes; None when there is none."""
    try:
        return read_with(path, lambda file: file.read(most))
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
    info = _access(path, "read", lambda: filesystem.info(inner))
    if info["type"] == "other":
        raise StorageError(f"{path}: cannot be read (is no regular file)")
    return _stored(path, info)


def walk(place: str, strange: list[str] | None = None) -> Iterator[Stored]:
    """Yield all objects below a place, in order of their paths; nothing when it does not exist.

    Local links are followed; a file that is still being written is not there yet. What no object
    can be is passed over: a pipe, a socket or a device, and a name that is no UTF-8, which neither
    JSON nor Arrow can hold.

    Args:
        strange: gets the paths of what was passed over, with escapes for what is no UTF-8.
    """
    filesystem, inner = _open_place(place)
    if isinstance(filesystem, LocalFileSystem):
        names = _access(place, "listed", lambda: list(_local_files(inner)))
        found = _local_infos(filesystem, names)
    else:
        found = _access(place, "listed", lambda: filesystem.find(inner, detail=True))
    yield from _objects(filesystem, found, strange)


def glob(place: str, pattern: str, strange: list[str] | None = None) -> Iterator[Stored]:
    """Yield the objects below a place that match a pattern, as `walk` does.

    The place itself is no pattern, whatever its name holds.
    """
    filesystem, inner = _open_place(place)
    whole = f"{patterns.escape(inner.rstrip('/'))}/{pattern}"
    if isinstance(filesystem, LocalFileSystem):
        names = _access(place, "listed", lambda: cast(list[str], filesystem.glob(whole)))
        found = _local_infos(filesystem, names)
    else:
        found = _access(place, "listed", lambda: filesystem.glob(whole, detail=True))
    yield from _objects(filesystem, found, strange)


_Infos = dict[str, dict[str, Any]]
"""What a file system tells of each path."""


def _local_infos(filesystem: LocalFileSystem, paths: Iterable[str]) -> _Infos:
    found: _Infos = {}
    for path in paths:
        try:
            found[path] = _access(path, "read", partial(filesystem.info, path))
        except StorageError as error:
            gone = isinstance(error.__cause__, FileNotFoundError)
            if not gone or Path(path).is_symlink():  # not removed since, but a link to nothing
                raise
    return found


def _objects(
    filesystem: fsspec.AbstractFileSystem, found: _Infos, strange: list[str] | None
) -> Iterator[Stored]:
    for path in sorted(found):
        kind = found[path]["type"]
        if kind == "directory":
            continue
        if kind == "other" or path.encode("utf-8", "ignore") != os.fsencode(path):
            if strange is not None:
                strange.append(os.fsencode(path).decode("utf-8", "backslashreplace"))
            continue
        local = isinstance(filesystem, LocalFileSystem)
        yield _stored(path if local else filesystem.unstrip_protocol(path), found[path])


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


def is_folder(path: str) -> bool:
    filesystem, inner = _open_place(path)
    return _access(path, "read", lambda: bool(filesystem.isdir(inner)))


def exists(path: str) -> bool:
    filesystem, inner = _open_place(path)
    return _access(path, "read", lambda: bool(filesystem.exists(inner)))


# ------------------------------------------------------------------------------------------ writing


def put_if_absent(path: str, data: bytes, *, private: bool = False) -> bool:
    """Write a whole object unless there is one; return whether the one there has this data.

    Atomic: readers see all of it or nothing, and of several writers one wins. A store may apply a
    put whose answer is lost, and then refuse the same put: that is why the data decides. Locally a
    temporary file is synced and linked to its name; elsewhere the store must know `If-None-Match`
    (fsspec's `mode="create"`; `probe` finds out). A local file may be read by whom the umask lets,
    a `private` one by its owner alone.
    """
    filesystem, inner = _open_place(path)
    if isinstance(filesystem, LocalFileSystem):
        put = partial(_link, inner, data, 0o600 if private else 0o666)
        return _access(path, "written", put) or read(path) == data
    act = partial(filesystem.pipe_file, inner, data, mode="create", chunksize=_ONE_PUT)
    return _put(path, data, act)


def replace(path: str, data: bytes, *, tag: str | None = None) -> bool:
    """Write a whole object in place of the one there, atomically; a local file keeps its mode.

    With a `tag` only of the object that has it (`Stored.tag`): on S3 the store compares
    (`If-Match`), locally the object is locked from the look at its tag until it is replaced,
    elsewhere it is looked up just before. Returns whether the object there has this data.
    """
    filesystem, inner = _open_place(path)
    if isinstance(filesystem, LocalFileSystem):
        lock = nullcontext(True) if tag is None else _locked(inner, tag)
        with lock as unchanged:
            if unchanged:
                _access(path, "written", lambda: _rename(inner, data))
        return unchanged or read(path) == data
    condition = {}
    if tag is not None and "s3" in filesystem.protocol:
        condition["IfMatch"] = f'"{tag}"'
    elif tag is not None and stat(path).tag != tag:
        return read(path) == data
    act = partial(filesystem.pipe_file, inner, data, chunksize=_ONE_PUT, **condition)
    return _put(path, data, act)


@contextmanager
def _locked(path: str, tag: str) -> Iterator[bool]:
    """Hold the lock of the object at a local path; yield whether it still has this tag.

    The lock is on the file that is to be replaced, so none is left behind, and it ends with its
    process. Who waited for it finds another file there.
    """
    # For writing, else NFS gives no lock.
    with _access(path, "written", lambda: Path(path).open("r+b")) as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        except OSError as error:  # the file system has none: the look just before must do
            _log.debug("%s: no lock (%s)", path, error)
        there = os.path.samestat(os.fstat(file.fileno()), Path(path).stat())
        yield there and stat(path).tag == tag


def private_folder(place: str) -> None:
    """Make a local folder that only its owner may look into, unless there is one."""
    filesystem, inner = _open_place(place)
    if isinstance(filesystem, LocalFileSystem):
        folder = Path(inner)
        _access(place, "written", lambda: folder.parent.mkdir(parents=True, exist_ok=True))
        _access(place, "written", lambda: folder.mkdir(0o700, exist_ok=True))


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
    if isinstance(error, FileExistsError):
        return True
    # Not every store says which condition failed, which s3fs looks for.
    while error is not None:
        match getattr(error, "response", None):
            case {"ResponseMetadata": {"HTTPStatusCode": 412}}:
                return True
        error = error.__cause__
    return False


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


def _link(path: str, data: bytes, mode: int) -> bool:
    with _written_beside(Path(path), data, mode) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    _sync_folder(Path(path).parent)
    return True


def _rename(path: str, data: bytes) -> None:
    with _written_beside(Path(path), data) as temporary:
        _place(temporary, Path(path))


@contextmanager
def written(path: str) -> Iterator[BinaryIO]:
    """Open a file to be written to a place, which has all of it in the end, or what it had before.

    It is a local one until then, wherever the place is: so it can be of any size.
    """
    filesystem, inner = _open_place(path)
    local = isinstance(filesystem, LocalFileSystem)
    target = Path(inner) if local else None
    descriptor, name = _access(path, "written", lambda: _temporary(target))
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


def _temporary(path: Path | None) -> tuple[int, str]:
    return tempfile.mkstemp(_END, _BEGIN) if path is None else _beside(path)


def _beside(path: Path, mode: int = 0o666) -> tuple[int, str]:
    """A new file in the folder of `path`, with the mode of what is there, else this less umask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = str(path.with_name(f"{_BEGIN}{secrets.token_hex(8)}{_END}"))
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with suppress(FileNotFoundError):
        os.fchmod(descriptor, S_IMODE(path.stat().st_mode))
    return descriptor, name


def _place(temporary: Path, path: Path) -> None:
    temporary.replace(path)
    _sync_folder(path.parent)


@contextmanager
def _written_beside(path: Path, data: bytes, mode: int = 0o666) -> Iterator[Path]:
    """A synced temporary file in the folder of `path`; what is left of it in the end is removed."""
    descriptor, name = _beside(path, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
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
