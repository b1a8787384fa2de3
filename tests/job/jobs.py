"""What the tests of the corpus job share: a corpus of its own making, the command, its table."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet

from taiyi_ray import storage

WORDS = [
    *("patient", "treated", "with", "metformin", "insulin", "expression", "of", "tumour", "cells"),
    *("increased", "response", "inhibition", "mutation", "receptor", "clinical", "trial", "mice"),
    *("randomised", "cohort", "mortality", "kinase", "aspirin", "naloxone", "clonidine", "stroke"),
    *("hypertension", "seizures", "cocaine", "apoptosis", "phosphorylation", "α-synuclein"),
    *("β-blocker", "interleukin-6", "naïve", "糖尿病", "😀"),
]


def corpus(
    path: Path,
    documents: int,
    *,
    words: int = 60,
    special: dict[int, str] | None = None,
    seed: int = 7,
) -> Path:
    """Write JSON lines of random documents; `special` adds a text to some of them."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(documents):
            text = " ".join(draw.choices(WORDS, k=words)) + "."
            text += (special or {}).get(number, "")
            record = {"document_id": f"d{number}", "title": f"Document {number}", "text": text}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path


def start(
    *arguments: str | Path, before: str = "", log: Path | None = None
) -> subprocess.Popen[str]:
    """Start `taiyi-ray annotate` in a session of its own; `before` is Python that runs first.

    Two questions a document are enough: these tests are about the job. What it prints is added to
    `log`, else can be read from the process.
    """
    main = f"{before}\nfrom taiyi_ray.cli import main; main()"
    with log.open("a") if log else nullcontext(subprocess.PIPE) as output:
        return subprocess.Popen(
            [sys.executable, "-c", main, "annotate", "--ask", "together", *map(str, arguments)],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def annotate(*arguments: str | Path, code: int = 0, before: str = "") -> str:
    """Run `taiyi-ray annotate` to its end and return what it printed."""
    with start(*arguments, before=before) as process:
        try:
            output, _ = process.communicate(timeout=240)
        except BaseException:
            process.kill()
            raise
    assert process.returncode == code, output
    return output


def table(output: Path | str) -> list[dict[str, Any]]:
    """All rows of an output, in the order of their keys."""
    rows = []
    for stored in storage.walk(f"{output}/annotations"):
        with storage.open_read(stored.path) as file:
            rows += pyarrow.parquet.read_table(file).to_pylist()
    return sorted(rows, key=lambda row: (row["source"], row["position"]))


def content(output: Path | str) -> list[str]:
    """The rows without what tells one run or plan from another."""
    return [
        json.dumps({k: v for k, v in row.items() if k not in ("run_id", "unit")}, sort_keys=True)
        for row in table(output)
    ]


def unit_files(output: Path) -> list[Path]:
    return sorted((output / "annotations").glob("**/*.parquet"))


def processes(*names: str) -> list[str]:
    """Command lines of running processes whose name or arguments hold one of these.

    Only processes that these tests started count: others may use Ray on the same machine.
    """
    mark = f"TAIYI_RAY_TESTS={os.environ['TAIYI_RAY_TESTS']}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                mine = mark in (folder / "environ").read_bytes()
            except OSError:
                continue
            if mine and any(name in line for name in names):
                found.append(f"{folder.name} {line}")
    return found
