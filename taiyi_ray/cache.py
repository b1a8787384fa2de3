"""The cache: folders that a machine makes or fetches once, each whole and under a lock.

The cache is in the user's cache folder, or where the environment variable TAIYI_RAY_CACHE says.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from taiyi_ray.errors import StorageError, first_line


def folder() -> Path:
    """Return the folder of the cache: TAIYI_RAY_CACHE, else one in the user's cache folder."""
    named = os.environ.get("TAIYI_RAY_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("taiyi_ray")


def made_once(target: Path, fill: Callable[[Path], None]) -> Path:
    """Return the folder `target`, filled at the first call.

    The folder is filled under another name and then renamed, so that it is never seen in part. When
    several processes of a machine want it at once, one fills it and the others wait: eight engines
    make one download.

    Args:
        target: a folder below `folder()`.
        fill: writes the files into the empty folder that it gets.

    Raises:
        StorageError: the folder cannot be made.
    """
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock(target)):
            if not target.is_dir():
                _make(target, fill)
    except OSError as error:
        raise StorageError(
            f"{target}: cannot be made ({first_line(error)}); set TAIYI_RAY_CACHE to another folder"
        ) from error
    return target


def _lock(target: Path) -> Path:
    locks = folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return locks / hashlib.sha256(str(target).encode()).hexdigest()[:32]


def _make(target: Path, fill: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as temporary:
        made = Path(temporary) / target.name
        made.mkdir()
        fill(made)
        for file in made.iterdir():
            file.chmod(0o644)  # safetensors writes 0600; others share the cache
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # else, without locks, another process was first
                raise
