"""Checkpoints: what a run goes on from. The marker of a checkpoint is its commit.

The files of a checkpoint lie below OUT/checkpoints/<step>/<attempt>/. When all are there, the
object OUT/checkpoints/<step>.json is put if absent: it names the files with their sizes and
digests. A run starts from the newest marker whose files are whole. So it does not matter where a
writer is killed, nor whether an older run still writes: whoever puts the marker first wins, and
files that no marker names are never read. Of a checkpoint that is no longer kept the marker is
removed first. So a file that is missing means damage only as long as its marker stands.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from taiyi_ray import storage
from taiyi_ray.errors import Signal, StorageError, Unfinished

logger = logging.getLogger(__name__)

_MARKER = re.compile(r"/(\d{9})\.json$")
_STEP = re.compile(r"\d{9}(?=[/.])")

TRIES = 10
"""How often the newest checkpoint is taken, while another run removes each that was found."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run is: after so many steps.

    Attributes:
        step: steps of the whole run.
        stage: the number of the stage, from 0.
        stage_step: steps of the stage.
    """

    step: int = 0
    stage: int = 0
    stage_step: int = 0


class Removed(Signal):
    """A checkpoint was removed while it was read: another run trains this output, and is ahead."""


def overtaken(folder: str) -> Unfinished:
    """Return the error of a run that found no checkpoint that stays until it is read.

    Args:
        folder: the folder of all checkpoints.
    """
    return Unfinished(
        f"{folder}: another run removed the checkpoints while they were read, {TRIES} times; when "
        "that run has ended, the same command goes on"
    )


@dataclass(frozen=True, slots=True)
class Marker:
    """A checkpoint that is committed.

    Attributes:
        folder: the folder of all checkpoints.
        position: where the run was.
        files: for each file its name, its path below the folder, its bytes and SHA-256.
    """

    folder: str
    position: Position
    files: tuple[dict[str, Any], ...]

    def is_whole(self) -> bool:
        """Whether all files are there, as long as they were written."""
        there = storage.walk(storage.join(self.folder, f"{self.position.step:09}"))
        sizes = {stored.path: stored.size for stored in there}
        return all(
            sizes.get(storage.join(self.folder, file["path"])) == file["size"]
            for file in self.files
        )

    def stands(self) -> bool:
        """Whether this marker is still there, and no other in its place."""
        return _marker(self.folder, self.position.step) == self

    def read(self, name: str) -> bytes:
        """Return a file of the checkpoint.

        Raises:
            Removed: the checkpoint was removed meanwhile.
            StorageError: the file is gone, or not what was written.
        """
        (file,) = (file for file in self.files if file["name"] == name)
        path = storage.join(self.folder, file["path"])
        data = storage.read(path)
        if data is None or hashlib.sha256(data).hexdigest() != file["sha256"]:
            if not self.stands():
                raise Removed(path)
            raise StorageError(
                f"{path}: is not what was written; remove this step's marker, and the run goes on "
                "from the checkpoint before it"
            )
        return data


class Checkpoints:
    """The checkpoints of an output.

    Args:
        output: the output of the run.
        keep: how many are kept.

    Attributes:
        folder: the folder of all checkpoints.
    """

    def __init__(self, output: str, keep: int) -> None:
        self.folder = storage.join(output, "checkpoints")
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def newest(self) -> Marker | None:
        """Return the newest checkpoint whose files are whole; None when there is none.

        Raises:
            Unfinished: another run removes each one as soon as it is found.
        """
        for _ in range(TRIES):
            removed = False
            for step in reversed(list(self._steps())):
                marker = _marker(self.folder, step)
                if marker and marker.is_whole():
                    return marker
                if marker and marker.stands():
                    logger.warning("checkpoint %d is not whole; an older one is used", step)
                else:
                    removed = True
            if not removed:
                return None
        raise overtaken(self.folder)

    def save(self, position: Position, files: Mapping[str, Callable[[], bytes]]) -> None:
        """Write a checkpoint in a thread, after the one before is written.

        Args:
            position: where the run is.
            files: what makes the content of each file, by name; it is called in the thread.

        Raises:
            StorageError: the checkpoint before this one could not be written.
        """
        self.wait()
        self._writing = self._thread.submit(self._write, position, files)

    def wait(self) -> None:
        """Wait until all is written.

        Raises:
            StorageError: it could not be written.
        """
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def close(self) -> None:
        """End the thread; what it writes is written."""
        self._thread.shutdown()

    def _write(self, position: Position, files: Mapping[str, Callable[[], bytes]]) -> None:
        attempt = secrets.token_hex(4)
        written = []
        for name, make in files.items():
            data = make()
            path = f"{position.step:09}/{attempt}/{name}"
            storage.replace(storage.join(self.folder, path), data)
            digest = hashlib.sha256(data).hexdigest()
            written.append({"name": name, "path": path, "size": len(data), "sha256": digest})
        marker = json.dumps({"position": asdict(position), "files": written}, indent=1).encode()
        path = _address(self.folder, position.step)
        if not storage.put_if_absent(path, marker):
            there = _marker(self.folder, position.step)
            if there is None or not there.is_whole():
                storage.replace(path, marker)  # its files were lost; this run has them
        self._remove_old()

    def _remove_old(self) -> None:
        # One that is not whole is no checkpoint: it must not count as one of those that are kept.
        markers = [_marker(self.folder, step) for step in self._steps()]
        kept = [marker.position.step for marker in markers if marker and marker.is_whole()]
        for stored in list(storage.walk(self.folder)):  # a marker comes before its files
            step = _STEP.match(stored.path.removeprefix(f"{self.folder}/"))
            # Files of a later step may be those of a run that still writes them.
            if kept and step and int(step[0]) < kept[-self._keep :][0]:
                storage.remove(stored.path)

    def _steps(self) -> Iterator[int]:
        """The steps that have a marker."""
        for stored in storage.walk(self.folder):
            if marker := _MARKER.search(stored.path):
                yield int(marker[1])


def _address(folder: str, step: int) -> str:
    return storage.join(folder, f"{step:09}.json")


def _marker(folder: str, step: int) -> Marker | None:
    """The marker of a step; None when there is none."""
    data = storage.read(_address(folder, step))
    if not data:
        return None
    read = json.loads(data)
    return Marker(folder, Position(**read["position"]), tuple(read["files"]))
