"""`taiyi-ray build-instructions` as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any


def build(data: Path, output: Path, **settings: Any) -> Path:
    ended = command(data, output, **settings)
    assert ended.returncode == 0, ended.stderr
    return output


def arguments(
    data: Path | str, output: Path | str, *, unit_documents: int | None = None, **settings: Any
) -> list[str]:
    """`taiyi-ray build-instructions`, as a user starts it.

    Args:
        data, output: the folders.
        unit_documents: the most documents of a file, where the usual number would be too many.
        **settings: the settings of the command, as on the command line.
    """
    chosen = {"datasets": "bc5cdr,ncbi_disease", "tasks": "ner,re", "workers": 1} | settings
    options = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
    main = "from taiyi_ray.cli import main; main()"
    if unit_documents is not None:
        with_files = f"partial(instruct.run, unit_documents={unit_documents})"
        main = (
            "from functools import partial; from taiyi_ray import instruct; "
            f"instruct.run = {with_files}; {main}"
        )
    where = [f"--data-root={data}", f"--output={output}"]
    return [sys.executable, "-c", main, "build-instructions", *where, *options]


def command(
    data: Path | str, output: Path | str, **settings: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(data, output, **settings), capture_output=True, text=True, timeout=300
    )


def started(data: Path | str, output: Path | str, **settings: Any) -> subprocess.Popen[bytes]:
    """The command in a session of its own, so that all its processes can be killed."""
    return subprocess.Popen(
        arguments(data, output, **settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
