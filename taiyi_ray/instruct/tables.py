"""What a build made as tables: for the console, and for docs/datasets.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from taiyi_ray import catalogue


def table(made: dict[str, Any]) -> Table:
    """The instructions of each dataset and task as a table for the console."""
    found = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("folder", "dataset", "split", "task"):
        found.add_column(name, overflow="fold")
    for name in ("documents", "instructions", "paper", "rejected", "lost"):
        found.add_column(name, justify="right", overflow="fold")
    for one in made["datasets"]:
        for row in one["instructions"] or [{"task": "", "made": 0}]:
            paper = one["paper"].get(row["task"])
            found.add_row(
                one["folder"],
                one["dataset"],
                one["split"],
                row["task"],
                f"{one['used']:,}",
                f"{row['made']:,}",
                f"{paper:,}" if paper else "",
                f"{sum(one['rejected'].values()):,}",
                f"{sum(one['lost'].values()):,}",
            )
    return found


def left_out(one: dict[str, Any]) -> str:
    """Say how many documents and questions of a part gave no instruction, by reason.

    Of a small split no document may be held out: the part has none.

    Args:
        one: what the manifest says of the part.
    """
    if not one["documents"]:
        return "no document"
    reasons = dict(one["rejected"])
    if one.get("not_drawn"):  # manifests of older programs do not tell
        reasons["not drawn"] = one["not_drawn"]
    return ", ".join(f"{reason} {number:,}" for reason, number in reasons.items())


def empty(made: dict[str, Any]) -> list[str]:
    """Say of which parts no instruction came, and why, a line each.

    Args:
        made: the content of `_manifest.json`.
    """
    return [
        f"no instruction came of {one['folder']}/{one['dataset']}/{one['split']}: {left_out(one)}"
        for one in made["datasets"]
        if not one["instructions"]
    ]


def markdown(made: dict[str, Any]) -> str:
    """A manifest as tables in Markdown.

    Args:
        made: the content of `_manifest.json`.
    """
    datasets = made["datasets"]
    trained = [one for one in datasets if one["folder"] != "dev"]
    names = {one["dataset"] for one in datasets}
    consented = sorted(name for name in names if catalogue.entry(name).may_train != "yes")
    total, dev = (
        sum(row["made"] for one in group for row in one["instructions"])
        for group in (trained, [one for one in datasets if one["folder"] == "dev"])
    )
    told = [
        f"{total:,} instructions to train on and {dev:,} held-out ones were made of {len(names)} "
        f"datasets, with the seed {made['seed']} and taiyi_ray {made['versions']['taiyi_ray']}."
    ]
    if consented:
        told.append(f"Consent (`--accept-terms`) was given for {', '.join(consented)}.")
    if made["unchecked"]:
        told.append(f"Not in the data root, so not compared with: {', '.join(made['unchecked'])}.")
    parts = [
        "\n".join(told),
        _table(
            ("dataset", "folder", "split", "documents", "used", "instructions", "left out", "lost"),
            map(_dataset, datasets),
        ),
        "By task and language, without what is held out:",
        _table(("task", "language", "instructions", "share"), _tasks(trained, total)),
        "Documents that occur in a test set, by pair of datasets and by how they were found:",
        _table(("dataset", "test set", "PMID", "text", "n-grams"), _pairs(datasets)),
        "What answers cannot state:",
        _table(("task", "reason", "annotations"), _losses(datasets)),
    ]
    return "\n\n".join(parts) + "\n"


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        cells = (f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _dataset(one: dict[str, Any]) -> tuple[object, ...]:
    made = [f"{row['task']} {row['language']} {row['made']:,}" for row in one["instructions"]]
    lost = sum(one["lost"].values())
    return (
        *(one[name] for name in ("dataset", "folder", "split", "documents", "used")),
        ", ".join(made),
        left_out(one),
        lost or "",
    )


def _tasks(datasets: Iterable[dict[str, Any]], total: int) -> list[tuple[object, ...]]:
    counts: Counter[tuple[str, str]] = Counter()
    for one in datasets:
        for row in one["instructions"]:
            counts[row["task"], row["language"]] += row["made"]
    return [
        (*key, number, f"{100 * number / (total or 1):.1f} %")
        for key, number in counts.most_common()
    ]


def _pairs(datasets: Iterable[dict[str, Any]]) -> list[tuple[object, ...]]:
    counts: dict[tuple[str, str], Counter[str]] = {}
    for one in datasets:
        for found, number in one["overlaps"].items():
            how, _, test_set = found.partition(" in ")
            counts.setdefault((one["dataset"], test_set), Counter())[how] += number
    return [
        (*pair, *(of[how] or "" for how in ("pmid", "text", "ngrams")))
        for pair, of in sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    ]


def _losses(datasets: Iterable[dict[str, Any]]) -> list[tuple[object, ...]]:
    counts: Counter[str] = Counter()
    for one in datasets:
        counts.update(one["lost"])
    return [(*why.split(": ", 1), number) for why, number in counts.most_common()]
