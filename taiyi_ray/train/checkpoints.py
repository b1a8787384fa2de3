"""Checkpoints: what a run goes on from. The marker of a checkpoint is its commit.

The files of a checkpoint lie below OUT/checkpoints/<step>/<attempt>/. When all are there, the
object OUT/checkpoints/<step>.json is put if absent: it names the files with their sizes and
digests. A run starts from the newest marker whose files are whole. So it does not matter where a
writer is killed, nor whether an older run still writes: whoever puts the marker first wins, and
files that no marker names are never read.
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
from taiyi_ray.errors import StorageError

logger = logging.getLogger(__name__)

_MARKER = re.compile(r"/(\d{9})\.json$")
_STEP = re.compile(r"\d{9}(?=[/.])")


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
        paths = [(storage.join(self.folder, file["path"]), file["size"]) for file in self.files]
        return all(storage.exists(path) and storage.stat(path).size == size for path, size in paths)

    def read(self, name: str) -> bytes:
        """Return a file of the checkpoint.

        Raises:
            StorageError: it is gone, or not what was written.
        """
        (file,) = (file for file in self.files if file["name"] == name)
        path = storage.join(self.folder, file["path"])
        data = storage.read(path)
        if data is None or hashlib.sha256(data).hexdigest() != file["sha256"]:
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
    """

    def __init__(self, output: str, keep: int) -> None:
        self._folder = storage.join(output, "checkpoints")
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def newest(self) -> Marker | None:
        """Return the newest checkpoint whose files are whole; None when there is none."""
        for marker in reversed(list(self._markers())):
            if marker.is_whole():
                return marker
            logger.warning("checkpoint %d is not whole; an older one is used", marker.position.step)
        return None

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
            storage.replace(storage.join(self._folder, path), data)
            digest = hashlib.sha256(data).hexdigest()
            written.append({"name": name, "path": path, "size": len(data), "sha256": digest})
        marker = json.dumps({"position": asdict(position), "files": written}, indent=1).encode()
        path = storage.join(self._folder, f"{position.step:09}.json")
        if not storage.put_if_absent(path, marker):
            there = storage.read(path)
            if there is None or not self._marker(there).is_whole():
                storage.replace(path, marker)  # its files were lost; this run has them
        self._remove_old()

    def _remove_old(self) -> None:
        # One that is not whole is no checkpoint: it must not count as one of those that are kept.
        kept = [marker.position.step for marker in self._markers() if marker.is_whole()]
        for stored in list(storage.walk(self._folder)):
            step = _STEP.match(stored.path.removeprefix(f"{self._folder}/"))
            # Files of a later step may be those of a run that still writes them.
            if kept and step and int(step[0]) < kept[-self._keep :][0]:
                storage.remove(stored.path)

    def _markers(self) -> Iterator[Marker]:
        for stored in storage.walk(self._folder):
            if _MARKER.search(stored.path) and (data := storage.read(stored.path)):
                yield self._marker(data)

    def _marker(self, data: bytes) -> Marker:
        read = json.loads(data)
        return Marker(self._folder, Position(**read["position"]), tuple(read["files"]))
