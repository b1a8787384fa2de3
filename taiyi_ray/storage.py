"""Objects at addresses, local or of any fsspec kind: read, written whole, put if absent, listed.

The existence of an object is a commit, so an object is never visible in part: locally it is written
as a temporary file, which is then linked or renamed to its name; a store shows it when the upload
is complete. A call that meets a fault which may pass (a busy server, a broken connection) is
repeated. What a file system raises in the end becomes a StorageError that names the address.

An object has one address: `absolute` makes it from what a user wrote, and listings return it. The
other functions take an address literally: no character in it (`::`, `#`, `?`, `%`) is special.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_IMODE
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

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

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

T = TypeVar("T")

_SCHEMES = {"file": "", "local": "", "s3a": "s3"}
"""Other names of a scheme, and the one used here; that of a local path is empty."""

_BEGIN, _END = ".taiyi_ray-", ".tmp"
"""How the name of a file that is still being written begins and ends."""

_TRIES = 8
_LONGEST_PAUSE = 30.0

_S3: dict[str, Any] = {
    # botocore tries each request 3 times, before we repeat the whole call: a fault of one page does
    # not make a long listing start again. AWS_MAX_ATTEMPTS sets another number.
    "config_kwargs": {
        "retries": {"mode": "standard"},
        "connect_timeout": 10,
        "read_timeout": 60,
        "max_pool_connections": 64,
    },
    "default_block_size": 16 << 20,  # bytes of a large object that one request reads
}
_ONE_PUT = 5 << 30
"""S3's limit for one put. `put_if_absent` and `replace` make no multipart upload, whose parts would
outlive a killed writer."""

_PASSING_STATUS = frozenset({409, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"RequestTimeout", "BadDigest", "IncompleteBody"})
"""Codes of answers with status 400: the body was cut or damaged on its way to the server."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a listing shows it.

    Attributes:
        path: its address.
        size: its bytes.
        tag: a text that changes with the content: the ETag, or the time of the last change.
    """

    path: str
    size: int
    tag: str


def _file_system(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    scheme, rest = _split(path)
    if not scheme:
        return LocalFileSystem(), _absolute(rest)
    try:
        # fsspec's `url_to_fs` would read `a::b` as a file inside another file.
        kind = fsspec.get_filesystem_class(scheme)
        options = _S3 if scheme == "s3" else kind._get_kwargs_from_urls(path)
        # A cached listing would not show what other processes wrote.
        filesystem = kind(**options, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{path}: there is no such kind of address ({error})") from error
    if scheme == "s3":
        filesystem.retries = 1  # s3fs' own retries, without jitter, would multiply ours
    return filesystem, filesystem._strip_protocol(f"{scheme}://{rest}")


def _split(path: str) -> tuple[str, str]:
    """Split an address into its scheme, which is empty for a local path, and the rest."""
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

    answer = error.__cause__  # s3fs turns botocore's error into an OSError
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
    """Call `act`, again where that may help; raise StorageError that names the address."""
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


def join(folder: str, *parts: str) -> str:
    """Return the address of something below a folder."""
    return "/".join([folder.rstrip("/"), *parts])


def absolute(path: str) -> str:
    """Make the one address of an object or folder from what a user wrote.

    Only addresses in this form are stored or compared. A local path (also after `file://` or
    `local://`) becomes absolute and loses its `..`; links are not followed (`real` follows them).
    An S3 address begins with `s3://`, and no slash stands before or behind its key. Inside a key
    `//` and `..` are ordinary characters.
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
    # `normpath` keeps two leading slashes, as POSIX wants; on Linux they mean the same as one.
    return "/" + os.path.normpath(Path(path).absolute()).lstrip("/")


def real(path: str) -> str:
    """Follow the links to the folder of an object; keep the object's own name.

    A link to a folder is another way to the same objects. A link to a file counts as a file of its
    own, as a copy would: somebody gave it this name. To follow a link to a folder itself, put a
    slash behind its address.
    """
    if not is_local(path):
        return path
    folder, _, name = path.rpartition("/")
    return f"{os.path.realpath(folder or '/').rstrip('/')}/{name}"


def is_local(path: str) -> bool:
    """Whether an address names a file or folder of this machine."""
    return not _split(path)[0]


def is_within(path: str, folder: str) -> bool:
    """Whether an address names this folder or something below it, links followed."""
    return real(join(path, "")).startswith(real(join(folder, "")))


def open_read(path: str) -> BinaryIO:
    """Open an object for reading.

    A remote object is read in blocks. A block that fails or comes too short is requested again. All
    blocks are of the object that was there when it was opened: its ETag is compared.

    Raises:
        StorageError: the object does not exist, cannot be read, or is no regular file (opening a
            pipe would wait for its writer).
    """
    filesystem, inner = _file_system(path)
    if isinstance(filesystem, LocalFileSystem):
        _access(path, "read", lambda: _check_regular(inner))
    file = _access(path, "read", lambda: filesystem.open(inner, "rb"))
    blocks = getattr(file, "cache", None)
    if blocks is not None:
        fetch = blocks.fetcher

        def whole(start: int, end: int) -> bytes:
            try:
                data = cast(bytes, fetch(start, end))
            except IndexError as error:  # s3fs 2026.9 expects a time-out to have arguments
                raise TimeoutError("no answer in time") from error
            if len(data) != end - start:
                raise ConnectionError(f"{len(data)} of {end - start} bytes came")
            return data

        blocks.fetcher = lambda start, end: _access(path, "read", partial(whole, start, end))
    return cast(BinaryIO, file)


def _check_regular(path: str) -> None:
    mode = Path(path).stat().st_mode
    if not (modes.S_ISREG(mode) or modes.S_ISDIR(mode)):  # opening refuses a folder by itself
        raise OSError(errno.EINVAL, "is no regular file")


def read_with(path: str, take: Callable[[BinaryIO], T]) -> T:
    """Open an object and return the result of `take`; start again when the object was replaced.

    Raises:
        StorageError: as `open_read`, or the object was replaced during each of the tries.
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
    """Return a whole object, or its first `most` bytes; None when it does not exist."""
    try:
        return read_with(path, lambda file: file.read(most))
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def read_table(
    path: str, columns: Sequence[str] | None = None, dictionaries: Sequence[str] = ()
) -> pa.Table:
    """Read a Parquet file.

    Arrow would read ahead in threads of its own, which may outlive the call for a moment. If they
    then give the file back to Python while the interpreter ends, the process is aborted. So it has
    none here: who reads many files has threads that read one each.

    Args:
        path: the address of the file.
        columns: those that are wanted; None for all. One that the file lacks is passed over.
        dictionaries: the columns of strings that are to be read as dictionaries.

    Raises:
        StorageError: as `open_read`.
        pyarrow.ArrowException: the file is no Parquet file, or is damaged.
    """
    import pyarrow.parquet as pq  # slow to import

    def take(file: BinaryIO) -> pa.Table:
        parquet = pq.ParquetFile(file, read_dictionary=dictionaries, pre_buffer=False)
        return parquet.read(columns=columns, use_threads=False)

    return read_with(path, take)


def filesystem(path: str) -> fsspec.AbstractFileSystem:
    """Return the file system of an address, for a library that reads through fsspec by itself."""
    return _file_system(path)[0]


def read_part(path: str, start: int, size: int) -> bytes:
    """Return `size` bytes of an object from `start` on, by one request.

    Args:
        path: the address of the object.
        start: the offset of the first byte.
        size: the number of bytes. The object must have them all.

    Raises:
        StorageError: the bytes cannot be read.
    """
    filesystem, inner = _file_system(path)

    def part() -> bytes:
        data = cast(bytes, filesystem.cat_file(inner, start=start, end=start + size))
        if len(data) != size:
            raise ConnectionError(f"{len(data)} of {size} bytes came")
        return data

    return _access(path, "read", part) if size else b""


def stat(path: str) -> Stored:
    """Return size and tag of one object; raises StorageError when it does not exist."""
    filesystem, inner = _file_system(path)
    info = _access(path, "read", lambda: filesystem.info(inner))
    if info["type"] == "other":
        raise StorageError(f"{path}: cannot be read (is no regular file)")
    return _stored(path, info)


def walk(folder: str, strange: list[str] | None = None) -> Iterator[Stored]:
    """Yield all objects below a folder, in order of their addresses; none if it does not exist.

    Local links are followed. A file that is still being written is left out, and so are things that
    are no objects: pipes, sockets and devices, and names that are not UTF-8, which neither JSON nor
    Arrow can hold.

    Args:
        folder: the address of the folder.
        strange: a list that gets the paths of these, with escapes for bytes that are not UTF-8.
    """
    filesystem, inner = _file_system(folder)
    if isinstance(filesystem, LocalFileSystem):
        names = _access(folder, "listed", lambda: list(_local_files(inner)))
        infos = _local_infos(filesystem, names)
    else:
        infos = _access(folder, "listed", lambda: filesystem.find(inner, detail=True))
    yield from _objects(filesystem, infos, strange)


def glob(folder: str, pattern: str, strange: list[str] | None = None) -> Iterator[Stored]:
    """Yield the objects below a folder that match a pattern, in order of their addresses.

    Args:
        folder: the address of the folder, taken literally: it is no part of the pattern.
        pattern: as fsspec has it: `*`, `?`, `[...]`, and `**` across folders.
        strange: as in `walk`.
    """
    filesystem, inner = _file_system(folder)
    whole = f"{patterns.escape(inner.rstrip('/'))}/{pattern}"
    if isinstance(filesystem, LocalFileSystem):
        names = _access(folder, "listed", lambda: cast(list[str], filesystem.glob(whole)))
        infos = _local_infos(filesystem, names)
    else:
        infos = _access(folder, "listed", lambda: filesystem.glob(whole, detail=True))
    yield from _objects(filesystem, infos, strange)


_Infos = dict[str, dict[str, Any]]
"""The information that a file system gives, by path."""


def _local_infos(filesystem: LocalFileSystem, paths: Iterable[str]) -> _Infos:
    infos: _Infos = {}
    for path in paths:
        try:
            infos[path] = _access(path, "read", partial(filesystem.info, path))
        except StorageError as error:
            gone = isinstance(error.__cause__, FileNotFoundError)
            if not gone or Path(path).is_symlink():  # a dangling link, not a file removed meanwhile
                raise
    return infos


def _objects(
    filesystem: fsspec.AbstractFileSystem, infos: _Infos, strange: list[str] | None
) -> Iterator[Stored]:
    for path in sorted(infos):
        kind = infos[path]["type"]
        if kind == "directory":
            continue
        if kind == "other" or path.encode("utf-8", "ignore") != os.fsencode(path):
            if strange is not None:
                strange.append(os.fsencode(path).decode("utf-8", "backslashreplace"))
            continue
        local = isinstance(filesystem, LocalFileSystem)
        yield _stored(path if local else filesystem.unstrip_protocol(path), infos[path])


def _local_files(root: str) -> Iterator[str]:
    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    seen: set[str] = set()
    for parent, folders, names in os.walk(root, onerror=fail, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder above it, or a second link to the same folder
            folders.clear()
            continue
        seen.add(real)
        folders.sort()  # so that the order on the disk does not decide which of two links counts
        for name in names:
            if not (name.startswith(_BEGIN) and name.endswith(_END)):
                yield f"{parent}/{name}"


def is_folder(path: str) -> bool:
    """Whether a folder has this address; on S3 a prefix of keys counts as one."""
    filesystem, inner = _file_system(path)
    return _access(path, "read", lambda: bool(filesystem.isdir(inner)))


def exists(path: str) -> bool:
    """Whether an object or a folder has this address."""
    filesystem, inner = _file_system(path)
    return _access(path, "read", lambda: bool(filesystem.exists(inner)))


# ------------------------------------------------------------------------------------------ writing


def put_if_absent(path: str, data: bytes, *, private: bool = False) -> bool:
    """Write a whole object unless one exists; return whether the object there has this data.

    The write is atomic: readers see all of the object or nothing, and one of several writers wins.
    The result depends on the data because a store may apply a put whose answer is lost, and then
    refuse the repeated put. Locally a temporary file is synced and linked to its name. A store must
    support `If-None-Match` (fsspec's `mode="create"`); `probe` checks that.

    Args:
        path: the address of the object.
        data: its bytes.
        private: only the owner may read the local file; otherwise the umask decides.
    """
    filesystem, inner = _file_system(path)
    if isinstance(filesystem, LocalFileSystem):
        put = partial(_link, inner, data, 0o600 if private else 0o666)
        return _access(path, "written", put) or read(path) == data
    act = partial(filesystem.pipe_file, inner, data, mode="create", chunksize=_ONE_PUT)
    return _put(path, data, act)


def replace(path: str, data: bytes, *, tag: str | None = None) -> bool:
    """Replace an object atomically; return whether the object there has this data.

    A local file keeps its mode.

    Args:
        path: the address of the object.
        data: its new bytes.
        tag: replace only an object with this `Stored.tag`; None replaces any. On S3 the store
            compares (`If-Match`). Locally the object is locked from the comparison until it is
            replaced. Elsewhere the tag is compared just before, so that another writer may still
            come between.
    """
    filesystem, inner = _file_system(path)
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

    The lock is on the file that will be replaced. So no lock file remains, and the lock ends with
    its process. A process that waited for the lock sees that another file is there now.
    """
    # Opened for writing, because NFS gives no exclusive lock otherwise.
    with _access(path, "written", lambda: Path(path).open("r+b")) as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks: comparing the tag must suffice
            _log.debug("%s: no lock (%s)", path, error)
        there = os.path.samestat(os.fstat(file.fileno()), Path(path).stat())
        yield there and stat(path).tag == tag


def private_folder(folder: str) -> None:
    """Make a local folder that only its owner may enter, unless one exists."""
    filesystem, inner = _file_system(folder)
    if isinstance(filesystem, LocalFileSystem):
        path = Path(inner)
        _access(folder, "written", lambda: path.parent.mkdir(parents=True, exist_ok=True))
        _access(folder, "written", lambda: path.mkdir(0o700, exist_ok=True))


def remove(path: str) -> None:
    """Remove an object if it exists. Nothing that a job committed is ever removed."""
    filesystem, inner = _file_system(path)
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
    # s3fs looks for the name of the failed condition, which not every store gives.
    while error is not None:
        match getattr(error, "response", None):
            case {"ResponseMetadata": {"HTTPStatusCode": 412}}:
                return True
        error = error.__cause__
    return False


def probe(folder: str) -> None:
    """Check that a store accepts an object and refuses to put it a second time.

    A small object `.probe` remains, so that no right to delete is needed; the next probe uses it
    again. A local folder is not checked.

    Raises:
        StorageError: nothing can be written there, or the store ignores `If-None-Match`.
    """
    if isinstance(_file_system(folder)[0], LocalFileSystem):
        return
    path = join(folder, ".probe")
    put_if_absent(path, b"put once, to see whether the store refuses to put it twice")
    if put_if_absent(path, b"put twice: this store ignores If-None-Match"):
        raise StorageError(
            f"{folder}: this store ignores If-None-Match, so that two writers could overwrite each "
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
        _move(temporary, Path(path))


@contextmanager
def written(path: str) -> Iterator[BinaryIO]:
    """Open a file whose content becomes the object at `path` when the block ends without an error.

    Until then the object there stays as it was. The content is kept in a local file, even for a
    remote address, so that it may be larger than the memory.
    """
    filesystem, inner = _file_system(path)
    local = isinstance(filesystem, LocalFileSystem)
    target = Path(inner) if local else None
    descriptor, name = _access(path, "written", lambda: _temporary(target))
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if local:
            _access(path, "written", lambda: _move(Path(name), Path(inner)))
        else:
            _access(path, "written", lambda: filesystem.put_file(name, inner))
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _temporary(path: Path | None) -> tuple[int, str]:
    return tempfile.mkstemp(_END, _BEGIN) if path is None else _beside(path)


def _beside(path: Path, mode: int = 0o666) -> tuple[int, str]:
    """A new file in the folder of `path`, with the mode of the file there, or `mode` less umask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = str(path.with_name(f"{_BEGIN}{secrets.token_hex(8)}{_END}"))
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with suppress(FileNotFoundError):
        os.fchmod(descriptor, S_IMODE(path.stat().st_mode))
    return descriptor, name


def _move(temporary: Path, path: Path) -> None:
    temporary.replace(path)
    _sync_folder(path.parent)


@contextmanager
def _written_beside(path: Path, data: bytes, mode: int = 0o666) -> Iterator[Path]:
    """A synced temporary file in the folder of `path`; it is removed at the end if still there."""
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
