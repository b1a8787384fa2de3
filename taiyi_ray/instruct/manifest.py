"""What a build made: `_manifest.json`, `report.html`, and what LLaMA-Factory wants to know.

All of it is a sum over the footers of the units, and can be made again at any time.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from importlib.metadata import version
from typing import Any

import pyarrow.parquet as pq
from jinja2 import Environment, StrictUndefined
from rich.table import Table

from taiyi_ray import catalogue, storage
from taiyi_ray.corpus.units import Units
from taiyi_ray.instruct.instruction import STAGE_TWO, Tally
from taiyi_ray.instruct.mixture import published
from taiyi_ray.instruct.plan import Build, Part
from taiyi_ray.instruct.workers import ENDING, FOOTER

_READERS = 16
_FACTORY = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages"},
    "tags": {
        "role_tag": "role", "content_tag": "content", "user_tag": "user",
        "assistant_tag": "assistant", "system_tag": "system",
    },
}  # fmt: skip
"""How LLaMA-Factory reads chats (`data/README.md` of hiyouga/LLaMA-Factory, "OpenAI format")."""


def write(output: str, build: Build) -> dict[str, Any]:
    """Sum up a build whose units are all committed, and write the files that tell of it.

    Args:
        output: the address of the output.
        build: its plan.

    Returns:
        The content of `_manifest.json`.
    """
    units = Units(output, ENDING)
    with ThreadPoolExecutor(_READERS) as readers:
        tallies = [
            (part, _sum(readers.map(lambda unit: _tally(units.path(unit)), part.all_units())))
            for part in build.parts
        ]
    made = _manifest(build, tallies)
    _replace(output, "_manifest.json", json.dumps(made, ensure_ascii=False, indent=1))
    folders = sorted({part.name.partition("/")[0] for part in build.parts})
    factory = {f"taiyi_{folder}": {"file_name": folder, **_FACTORY} for folder in folders}
    _replace(output, "dataset_info.json", json.dumps(factory, indent=1))
    _replace(output, "report.html", _html(made))
    return made


def _replace(output: str, name: str, text: str) -> None:
    storage.replace(storage.join(output, name), text.encode())


def _tally(path: str) -> Tally:
    footer = storage.read_with(path, lambda stream: pq.read_metadata(stream).metadata[FOOTER])
    return Tally.of(json.loads(footer)["tally"])


def _sum(tallies: Any) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def _manifest(build: Build, tallies: list[tuple[Part, Tally]]) -> dict[str, Any]:
    datasets: list[dict[str, Any]] = []
    by_wording: Counter[str] = Counter()
    for part, tally in tallies:
        by_task: Counter[tuple[str, str]] = Counter()
        for name, number in tally.instructions.items():
            task, language, wording = name.split("/")
            by_task[task, language] += number
            by_wording[f"{task}/{language}/{wording}"] += number
        entry = catalogue.entry(part.dataset)
        folder = part.name.partition("/")[0]
        datasets.append(
            {
                "folder": folder,
                "dataset": part.dataset,
                "split": part.split,
                **{k: v for k, v in tally.as_dict().items() if k != "instructions"},
                "instructions": [
                    {"task": task, "language": language, "made": number}
                    for (task, language), number in sorted(by_task.items())
                ],
                "paper": {
                    task: published(entry, task) for task in part.mixes if folder != "dev"
                },
            }
        )
    return {
        "seed": build.identity["settings"]["seed"],
        "settings": build.identity["settings"],
        "entries": build.identity["entries"],
        "unchecked": build.unchecked,
        "versions": {name: version(name) for name in ("taiyi_ray", "pyarrow")},
        "wordings": dict(sorted(by_wording.items())),
        "datasets": datasets,
    }


def table(made: dict[str, Any]) -> Table:
    """The instructions of each dataset and task as a table for the console."""
    found = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("folder", "dataset", "task"):
        found.add_column(name)
    for name in ("documents", "instructions", "paper", "rejected", "lost"):
        found.add_column(name, justify="right")
    for one in made["datasets"]:
        for row in one["instructions"]:
            paper = one["paper"].get(row["task"])
            found.add_row(
                one["folder"],
                one["dataset"],
                row["task"],
                f"{one['used']:,}",
                f"{row['made']:,}",
                f"{paper:,}" if paper else "",
                f"{sum(one['rejected'].values()):,}",
                f"{sum(one['lost'].values()):,}",
            )
    return found


def _html(made: dict[str, Any]) -> str:
    """The report: the mixture by task, language and stage, beside the paper's."""
    ours: Counter[tuple[str, str]] = Counter()
    for one in made["datasets"]:
        if one["folder"] != "dev":
            for row in one["instructions"]:
                ours[row["task"], row["language"]] += row["made"]
    paper: Counter[tuple[str, str]] = Counter()
    for entry in catalogue.entries():
        for task in entry.tasks:
            if records := published(entry, task):
                paper[task, entry.language[0]] += records
    shares: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, counts in (("here", ours), ("paper", paper)):
        total = counts.total() or 1
        for (task, language), number in counts.items():
            shares[task].append(
                {"of": name, "language": language, "number": number, "share": number / total}
            )
    environment = Environment(undefined=StrictUndefined, autoescape=True)
    source = resources.files("taiyi_ray.instruct").joinpath("report.html.jinja")
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        made=made, shares=dict(sorted(shares.items())), stage_two=STAGE_TWO
    )
