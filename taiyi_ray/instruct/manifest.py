"""What a build made: `_manifest.json`, `report.html`, and what LLaMA-Factory wants to know.

All of it is a sum over the footers of the units, and can be made again at any time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from jinja2 import Environment, StrictUndefined

from taiyi_ray import catalogue, highlight, models, storage
from taiyi_ray.config import STAGE_FOLDERS
from taiyi_ray.corpus.units import Units
from taiyi_ray.instruct import tables
from taiyi_ray.instruct.instruction import TYPES, Tally
from taiyi_ray.instruct.mixture import GENERAL, published, shares
from taiyi_ray.instruct.plan import Build, Part
from taiyi_ray.instruct.workers import ENDING, FOOTER
from taiyi_ray.tasks.vocabulary import LANGUAGES
from taiyi_ray.versions import versions

MANIFEST = "_manifest.json"
"""What `build-instructions` says of its output. It is written when all units are there."""

_READERS = 16
_STAGES = (1, 2)
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
        footers = [
            (part, list(readers.map(lambda unit: _footer(units.path(unit)), part.all_units())))
            for part in build.parts
        ]
    tallies = [(part, _sum(of)) for part, of in footers]
    if (trained := _trained(footers)) is not None:
        models.write_trained_on(output, trained)
    made = _manifest(build, tallies)
    _replace(output, MANIFEST, json.dumps(made, ensure_ascii=False, indent=1))
    filled = sorted(part.name for part, tally in tallies if tally.instructions)
    _replace(output, "dataset_info.json", json.dumps(_factory(filled), indent=1))
    _replace(output, "report.html", _html(made))
    return made


def _factory(folders: Iterable[str]) -> dict[str, Any]:
    """Describe folders to LLaMA-Factory, which lists only the files that lie in a folder itself."""
    return {
        f"taiyi_{folder.replace('/', '_')}": {"file_name": folder, **_FACTORY} for folder in folders
    }


def _replace(output: str, name: str, text: str) -> None:
    storage.replace(storage.join(output, name), text.encode())


def _footer(path: str) -> dict[str, Any]:
    footer = storage.read_with(path, lambda stream: pq.read_metadata(stream).metadata[FOOTER])
    read: dict[str, Any] = json.loads(footer)
    return read


def _sum(footers: Iterable[dict[str, Any]]) -> Tally:
    total = Tally()
    for footer in footers:
        total.add(Tally.of(footer["tally"]))
    return total


def _trained(footers: Sequence[tuple[Part, list[dict[str, Any]]]]) -> models.Trained | None:
    """The documents that instructions were made of, without those that are held out.

    It is None where units are of an earlier version, which did not tell.
    """
    if any("used" not in footer for _, of_units in footers for footer in of_units):
        return None
    used: dict[str, set[int]] = {}
    for part, of_units in footers:
        if part.holds != "dev":
            split = used.setdefault(f"{part.dataset}/{part.split}", set())
            split.update(key for footer in of_units for key in footer["used"])
    return models.Trained.of({s: np.array(sorted(of), np.uint64) for s, of in used.items()})


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
                "expected": _expected(part, entry),
                "instructions": [
                    {"task": task, "language": language, "made": number}
                    for (task, language), number in sorted(by_task.items())
                ],
                "paper": {
                    task: published(entry, task)
                    for task in part.mixes
                    if folder != "dev" and part.split == "train"
                },
            }
        )
    return {
        "seed": build.identity["settings"]["seed"],
        "settings": build.identity["settings"],
        "entries": build.identity["entries"],
        "unchecked": build.unchecked,
        "unexpected": _unexpected(build),
        "versions": versions(),
        "wordings": dict(sorted(by_wording.items())),
        "datasets": datasets,
    }


def _expected(part: Part, entry: catalogue.Entry) -> dict[str, Any]:
    """What a part would hold if nothing of it were left out.

    Its documents are those of a split as its entry counts it, None where nobody has counted. The
    instructions of each task are those that the documents which are there get.
    """

    def asked(task: str) -> int:
        options = entry.options_of(task) | part.options.get(task, {})
        types = len(options.get(TYPES.get(task, ""), ()))
        return part.mixes[task].asked(round(part.share * part.records), types)

    return {
        "documents": None if part.expected is None else round(part.share * part.expected),
        "instructions": {task: asked(task) for task in part.mixes},
    }


def _unexpected(build: Build) -> list[str]:
    """The splits that have more or fewer records than their entries expect, a line each."""
    if build.identity["settings"]["limit"] is not None:
        return []
    return list(
        dict.fromkeys(
            f"{part.dataset}/{part.split} has {part.records:,} of {part.expected:,}"
            for part in build.parts
            if part.expected not in (None, part.records)
        )
    )


def _html(made: dict[str, Any]) -> str:
    """The report: the mixture by task and language beside the paper's, and what was left out."""
    datasets = made["datasets"]
    trained = [one for one in datasets if one["folder"] != "dev"]
    folders: Counter[str] = Counter()
    ours: Counter[_Kind] = Counter()
    for one in datasets:
        folders[one["folder"]] += sum(row["made"] for row in one["instructions"])
    for one in trained:
        stage = STAGE_FOLDERS.index(one["folder"]) + 1
        for row in one["instructions"]:
            ours[_Kind(stage, row["task"], row["language"])] += row["made"]
    papers = _papers()
    mixture = _shares(ours, papers)
    bars = [of for of_stage in mixture.values() for of in of_stage.values()]
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    source = resources.files(__package__).joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        style=highlight.style(__package__, "report"),
        made=made,
        names={one["dataset"] for one in datasets},
        folders=dict(sorted(folders.items())),
        rejected=_all(datasets, "rejected"),
        overlaps=_all(datasets, "overlaps"),
        lost=_all(datasets, "lost"),
        mixture=mixture,
        stages={
            stage: [
                sum(n for kind, n in of.items() if kind.stage == stage) for of in (ours, papers)
            ]
            for stage in mixture
        },
        widest=max((sum(of[source].values()) for of in bars for source in of), default=1) or 1,
        general=GENERAL,
        left_out=tables.left_out,
        overlapping=_listed(datasets, "overlaps"),
        losses=_listed(datasets, "lost"),
    )


class _Kind(NamedTuple):
    """What instructions are counted by.

    Attributes:
        stage: the first stage that trains them.
        task, language: what they ask, and in which language.
    """

    stage: int
    task: str
    language: str


def _papers() -> Counter[_Kind]:
    """The instructions of the paper's mix, as far as they are itemised."""
    found: Counter[_Kind] = Counter()
    for entry in catalogue.entries():
        for stage in _STAGES:
            for task, records in shares(entry, stage).items():
                found[_Kind(stage, task, entry.language[0])] += records
    return found


def _shares(
    ours: Counter[_Kind], papers: Counter[_Kind]
) -> dict[int, dict[str, dict[str, dict[str, float]]]]:
    """The share of each language in all instructions, by stage, task and whose mixture it is."""
    tasks = sorted(
        {(kind.stage, kind.task) for kind in (*ours, *papers)},
        key=lambda one: -sum(n for kind, n in ours.items() if (kind.stage, kind.task) == one),
    )
    return {
        stage: {
            task: {
                whose: {
                    language: counts[_Kind(stage, task, language)] / (counts.total() or 1)
                    for language in LANGUAGES
                }
                for whose, counts in (("here", ours), ("paper", papers))
            }
            for of, task in tasks
            if of == stage
        }
        for stage in _STAGES
    }


def _all(datasets: list[dict[str, Any]], name: str) -> int:
    return sum(sum(one[name].values()) for one in datasets)


def _listed(datasets: list[dict[str, Any]], name: str) -> list[tuple[str, str, str, int]]:
    return [
        (one["dataset"], f"{one['folder']}/{one['split']}", reason, number)
        for one in datasets
        for reason, number in one[name].items()
    ]
