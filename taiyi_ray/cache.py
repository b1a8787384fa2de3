"""What a machine makes or fetches once: whole folders in the cache, under a lock.

The cache is a folder of the user, or the one that the environment variable TAIYI_RAY_CACHE names.
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
    """Return the folder for what is made once: TAIYI_RAY_CACHE, else in the user's cache."""
    named = os.environ.get("TAIYI_RAY_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("taiyi_ray")


def made_once(target: Path, fill: Callable[[Path], None]) -> Path:
    """Return the folder `target`, filled at the first call.

    It comes into being whole, by a rename. Of the processes of a machine that want it at once, one
    fills it and the others wait: eight engines are one download.

    Args:
        target: a folder below `folder()`.
        fill: writes the files into the empty folder that it is given.

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
            f"{target}: cannot be made ({first_line(error)}); TAIYI_RAY_CACHE names another place"
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
            if not target.is_dir():  # a file system without locks: another process was first
                raise
