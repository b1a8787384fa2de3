"""Instruction data of corpora, beside `datasets` (`load_dataset` and `map`); memory at ten times.

Both make one question about all types of each document, with its answer, as chats in Parquet. The
peer does nothing else. The build also checks mentions and documents, compares documents with test
sets, counts what answers lose, and commits file by file.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pyarrow.parquet as pq

from benchmarks.measure import ROOT, Row, in_turn, say, seconds, write

ROUNDS = 3
DOCUMENTS = 4_000
"""Of the two corpora together, a fifth of them English abstracts; ten times as many for memory."""

FEW = 20
"""Documents of a build that does little else than start."""

PROCESSES = 2
_DATA = ROOT.parent / "shared" / "data"
_BC5CDR = _DATA / "bc5cdr"
_CMEDQANER = _DATA / "chineseblue" / "cMedQANER"
_TEST = "CDR_TestSet.PubTator.txt.gz"
_TYPES = {"Chemical": "chemical", "Disease": "disease"}
_WORDINGS = ("Find all {}.", "Which {} does the text name?", "List the {}.", "{} mentions?")
_SAMPLES = 0.3
"""Seconds between two looks at the memory."""


def write_corpora(folder: Path, documents: int) -> Path:
    """Write so many documents as the owners' files are: real ones, each told by its number."""
    (folder / "cMedQANER").mkdir(parents=True)
    abstracts = gzip.decompress((_BC5CDR / "CDR_TrainingSet.PubTator.txt.gz").read_bytes())
    english = [one for one in abstracts.decode().split("\n\n") if one.strip()]
    with (folder / "CDR_TrainingSet.PubTator.txt").open("w", encoding="utf-8") as file:
        for number, one in enumerate(islice(cycle(english), documents // 5)):
            pmid = one.strip().partition("|")[0]
            told = one.strip().replace(pmid, str(90_000_000 + number))
            lines = told.split("\n")
            lines[1] += f" This is record {number}."
            file.write("\n".join(lines) + "\n\n")
    chinese = gzip.decompress((_CMEDQANER / "train.jsonl.gz").read_bytes()).splitlines()
    with (folder / "cMedQANER" / "train.jsonl").open("w", encoding="utf-8") as file:
        for number, one in enumerate(islice(cycle(chinese), documents - documents // 5)):
            record = json.loads(one)
            record["text"] += f"第{number}号。"
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    (folder / _TEST).write_bytes((_BC5CDR / _TEST).read_bytes())
    return folder


# ----------------------------------------------------------------------------------------- the peer


def _chat(text: str, mentions: list[tuple[str, str]], number: int) -> dict[str, Any]:
    by_type: dict[str, dict[str, None]] = {}
    for type_, surface in mentions:
        by_type.setdefault(type_, {})[surface] = None
    answer = "\n".join(f"{type_}: {', '.join(of)}" for type_, of in by_type.items()) or "none"
    wording = random.Random(number).choice(_WORDINGS)
    question = wording.format(", ".join(_TYPES.values()))
    return {
        "messages": [
            {"role": "user", "content": f"{question}\n\n{text}"},
            {"role": "assistant", "content": answer},
        ]
    }


def _english(record: dict[str, str], number: int) -> dict[str, Any]:
    lines = record["text"].strip().split("\n")
    text = " ".join(line.split("|", 2)[2] for line in lines[:2])
    cells = (line.split("\t") for line in lines[2:])
    return _chat(text, [(_TYPES[c[4]], c[3]) for c in cells if len(c) > 4], number)


def _chinese(record: dict[str, Any], number: int) -> dict[str, Any]:
    mentions = [(one["type"], one["mention"]) for one in record["mention_data"]]
    return _chat(record["text"], mentions, number)


def peer(corpora: Path, output: Path) -> None:
    """The same corpora by `load_dataset` and `map`, each written to Parquet."""
    from datasets import load_dataset

    output.mkdir()
    cache = str(output / "cache")
    english = load_dataset(
        "text",
        data_files=str(corpora / "CDR_TrainingSet.PubTator.txt"),
        sample_by="paragraph",
        split="train",
        cache_dir=cache,
    )
    chinese = load_dataset(
        "json",
        data_files=str(corpora / "cMedQANER" / "train.jsonl"),
        split="train",
        cache_dir=cache,
    )
    for name, rows, turn in (("bc5cdr", english, _english), ("cMedQANER", chinese, _chinese)):
        made = rows.map(
            turn, with_indices=True, num_proc=PROCESSES, remove_columns=rows.column_names
        )
        made.to_parquet(str(output / f"{name}.parquet"))


# -------------------------------------------------------------------------------------- measurement


def _ours(corpora: Path, output: Path) -> list[str]:
    main = "from taiyi_ray.cli import main; main()"
    options = {
        "data-root": corpora,
        "output": output,
        "datasets": "bc5cdr,cMedQANER",
        "tasks": "ner",
        "ask": "together",
        "rate": "ner=1",
        "most": 10_000_000,
        "dev-documents": 0,
        "workers": PROCESSES,
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-c", main, "build-instructions", *given]


def _theirs(corpora: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.instruct", str(corpora), str(output)]


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(ended.stderr)


def _made(output: Path) -> int:
    """The chats that a run wrote."""
    files = [*output.glob("stage1/**/*.parquet"), *output.glob("*.parquet")]
    return sum(pq.read_metadata(file).num_rows for file in files)


def _timed(side: str, corpora: Path, documents: int) -> float:
    """Seconds of one run in fresh processes, from the command to its end.

    Raises:
        RuntimeError: it ended with an error, or did not make a chat of nearly every document.
    """
    with TemporaryDirectory() as folder:
        output = Path(folder) / "out"
        took = seconds(lambda: _run(_SIDES[side](corpora, output)))
        if _made(output) < 0.95 * documents:
            raise RuntimeError(f"{side} made {_made(output)} chats of {documents} documents")
    return took


def _memory_of(pid: int) -> Iterator[int]:
    """The bytes of a process and of all that it began; what they share counts once."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                yield one.memory_full_info().pss


def watched(side: str, corpora: Path) -> tuple[int, float]:
    """The most memory that a run and all its processes hold, in MiB, and the seconds it takes."""
    highest, began = 0, time.perf_counter()
    with TemporaryDirectory() as folder:
        command = _SIDES[side](corpora, Path(folder) / "out")
        started = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while started.poll() is None:
            highest = max(highest, sum(_memory_of(started.pid)))
            time.sleep(_SAMPLES)
        if started.returncode:
            raise RuntimeError(f"{side} ended with {started.returncode}")
    took = time.perf_counter() - began
    say(f"{side} on {corpora.name}: at most {highest >> 20} MiB, {took:.0f} s")
    return highest >> 20, took


_SIDES = {"taiyi-ray build-instructions": _ours, "datasets, load_dataset and map": _theirs}


def main() -> None:
    """Measure, and write results/instruct.json."""
    load = os.getloadavg()[0]
    with TemporaryDirectory() as name:
        folder = Path(name)
        few, some, many = (
            write_corpora(folder / str(size), size) for size in (FEW, DOCUMENTS, 10 * DOCUMENTS)
        )
        turns = {side: partial(_timed, side, some, DOCUMENTS) for side in _SIDES}
        starts = {f"{side}, started": partial(_timed, side, few, FEW) for side in _SIDES}
        taken = {side: median(all_) for side, all_ in in_turn(turns | starts, ROUNDS).items()}
        rows: list[Row] = []
        for side in _SIDES:
            start = taken[f"{side}, started"]
            few_mib, _ = watched(side, some)
            many_mib, many_seconds = watched(side, many)
            rows.append(
                {
                    "side": side,
                    f"seconds of {FEW} documents": start,
                    f"of {DOCUMENTS:,}": taken[side],
                    f"of {10 * DOCUMENTS:,}": many_seconds,
                    "documents/s of the last, without the first": (10 * DOCUMENTS - FEW)
                    / (many_seconds - start),
                    f"MiB at {DOCUMENTS:,}": few_mib,
                    f"MiB at {10 * DOCUMENTS:,}": many_mib,
                }
            )
    settings = {
        "rounds": ROUNDS,
        "documents": DOCUMENTS,
        "processes": PROCESSES,
        "load before": round(load, 1),
    }
    write("instruct", rows, packages=["taiyi_ray", "ray", "datasets", "pyarrow"], settings=settings)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        peer(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        main()
