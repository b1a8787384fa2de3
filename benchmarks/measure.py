"""What the benchmarks share: sides measured in turn, medians, results as JSON with their origin."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"

Row = dict[str, Any]


def in_turn(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run every side once a round, so that a slow minute of the machine slows all of them.

    Every round begins with another side. Returns the figure of each run, side by side.
    """
    names = list(sides)
    figures: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            figures[name].append(sides[name]())
            say(f"round {round_ + 1} of {rounds}: {name} {figures[name][-1]:,.2f}")
    return figures


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes, in seconds of wall time."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def say(line: str) -> None:
    """Tell how far a benchmark is, on standard error."""
    print(f"{datetime.now():%H:%M:%S} {line}", file=sys.stderr, flush=True)


def write(
    name: str, rows: Sequence[Row], *, packages: Sequence[str] = (), settings: Mapping[str, Any]
) -> None:
    """Write results/NAME.json: the rows of the table, and all that is needed to read them.

    Args:
        name: of the benchmark; `make bench-NAME` runs it.
        rows: the table, one dictionary a line with the same keys in each.
        packages: those whose versions matter besides Python's.
        settings: sizes, rounds, seeds and whatever else was chosen.
    """
    result = {
        "benchmark": name,
        "command": f"make bench-{name}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "revision": revision(),
        "settings": dict(settings),
        "rows": list(rows),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(result["rows"]))
    say(f"{path.relative_to(ROOT)}; `make bench-tables` puts it into its page")


def machine() -> dict[str, Any]:
    """The processor, the cores this process may use, the memory in GiB, the system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(terse=True),
    }


def revision() -> str:
    """The commit that was measured, with `+changes` when files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "taiyi_ray", "benchmarks/*.py")
    return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
