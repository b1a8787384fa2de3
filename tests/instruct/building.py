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


def arguments(data: Path | str, output: Path | str, **settings: Any) -> list[str]:
    """`taiyi-ray build-instructions`, as a user starts it."""
    chosen = {"datasets": "bc5cdr,ncbi_disease", "tasks": "ner,re", "workers": 1} | settings
    options = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
    main = "from taiyi_ray.cli import main; main()"
    where = [f"--data-root={data}", f"--output={output}"]
    return [sys.executable, "-c", main, "build-instructions", *where, *options]


def command(
    data: Path | str, output: Path | str, **settings: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(data, output, **settings), capture_output=True, text=True, timeout=300
    )


def started(data: Path, output: Path) -> subprocess.Popen[bytes]:
    """The command in a session of its own, so that all its processes can be killed."""
    return subprocess.Popen(
        arguments(data, output),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
