"""The plan of a build: which documents of which splits become which files. It is put once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, JsonValue

from taiyi_ray import catalogue, storage
from taiyi_ray.catalogue import DataRoot, Entry
from taiyi_ray.catalogue.entry import Split
from taiyi_ray.config import InstructConfig
from taiyi_ray.corpus.units import Unit, cut
from taiyi_ray.errors import ConfigError
from taiyi_ray.instruct.instruction import STAGE_TWO, Mix
from taiyi_ray.instruct.mixture import mix_of
from taiyi_ray.tasks import TASKS, assign
from taiyi_ray.tasks.task import Assignment
from taiyi_ray.tasks.template import AskingForm

Holds = Literal["all", "train", "dev"]

BUILD, HELD_OUT = "_build.json", "_held_out.npy"
"""Files of an output: the plan, and the index of the test sets."""

_HELD_OUT_SHARE = 0.02
"""The most documents of a training split that are held out where a dataset has no `dev`."""

UNIT_DOCUMENTS = 500
"""Documents of a unit at most. It must not depend on the number of workers: files have equal bytes
on any number of them."""


class Part(BaseModel, frozen=True):
    """What one folder of the output holds: instructions from one split, for one stage or `dev/`.

    Attributes:
        name: the folder: `stage1/bc5cdr/train`.
        dataset, split: the documents.
        data_root: the address of the folder of the corpora.
        holds: which documents of the split it holds: `all`, those that are held out for
            development (`dev`), or the others (`train`).
        dev_share: the share of documents that are held out.
        mixes: how documents become instructions, by task.
        options: options of the tasks that the user gave (`--task-file`), by task.
        units: the first and the last position (inclusive) of each unit.
    """

    name: str
    dataset: str
    split: Split
    data_root: str
    holds: Holds
    dev_share: float
    mixes: dict[str, Mix]
    options: dict[str, dict[str, JsonValue]]
    units: list[tuple[int, int]]

    def all_units(self) -> list[Unit]:
        """The units, as objects of the output."""
        return [
            Unit(source=self.name, path=self.data_root, first=first, last=last)
            for first, last in self.units
        ]


class Build(BaseModel, frozen=True):
    """OUT/_build.json.

    Attributes:
        format: the version of this file's form.
        identity: what decides the bytes of the output: settings, entries, test sets.
        unchecked: datasets whose test sets are not in the data root: nothing was compared with
            them.
        parts: the plan.
    """

    format: int = 1
    identity: dict[str, Any]
    unchecked: list[str]
    parts: list[Part]


class Chosen(NamedTuple):
    """A dataset to train on.

    Attributes:
        entry: its entry.
        tasks: its tasks that are built.
        splits: the splits that are read: `train`, and `dev` where there is one.
    """

    entry: Entry
    tasks: tuple[str, ...]
    splits: tuple[Split, ...]


def assignments_of(
    entry: Entry, tasks: Sequence[str], options: Mapping[str, Mapping[str, Any]]
) -> list[Assignment]:
    """The tasks of a dataset, about everything that it annotates.

    Args:
        entry: the dataset.
        tasks: the names of the tasks.
        options: options that the user gave, by task; they replace those of the entry.

    Raises:
        ConfigError: a task lacks an option, or has a wrong one.
    """
    of_entry = {task: {**entry.options_of(task), **options.get(task, {})} for task in tasks}
    return assign(tasks, of_entry, grammar=False, origin=entry.file, files=True, training=True)


def _askable(
    entry: Entry, tasks: Sequence[str], options: Mapping[str, Mapping[str, Any]], notes: list[str]
) -> tuple[str, ...]:
    """The tasks of which all options are known; a note says what the others lack."""
    found = []
    for task in tasks:
        try:
            assignments_of(entry, [task], options)
        except ConfigError as error:
            notes.append(f"{task} of {entry.name} is left out: {error} (--task-file gives it)")
        else:
            found.append(task)
    return tuple(found)


def choose(
    config: InstructConfig, root: DataRoot, options: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Chosen], list[str]]:
    """Choose the datasets, and say in notes why others are left out.

    Args:
        config: the settings.
        root: the data root.
        options: options of the tasks that the user gave, by task.

    Raises:
        ConfigError: a dataset that was named is unknown or absent, or consent to it is missing.
    """
    named = config.datasets is not None
    wanted = (
        [catalogue.entry(name) for name in dict.fromkeys(config.datasets)]
        if config.datasets is not None
        else catalogue.entries()
    )
    chosen: list[Chosen] = []
    notes: list[str] = []
    without_consent: list[str] = []
    for entry in wanted:
        tasks = tuple(t for t in entry.tasks if config.tasks is None or t in config.tasks)
        here = catalogue.present(entry, root)
        if "train" not in here or not tasks:
            if named:
                # `load` says what is missing, and where to get it.
                next(iter(catalogue.load(entry, "train", data_root=root)))
                raise ConfigError(f"--tasks: {entry.name} has gold for {', '.join(entry.tasks)}")
            continue
        if not named and entry.may_train != "yes" and entry.name not in config.accept_terms:
            without_consent.append(entry.name)
            continue
        tasks = _askable(entry, tasks, options, notes)
        if not tasks:
            continue
        splits = tuple(s for s in here if s not in ("test", entry.held_out))
        chosen.append(Chosen(entry, tasks, splits))
    catalogue.check_terms([one.entry for one in chosen], config.accept_terms)
    if without_consent:
        notes.append(
            f"{len(without_consent)} datasets are left out, because their terms do not clearly "
            f"allow training (--accept-terms NAME): {', '.join(without_consent)}"
        )
    if not chosen:
        raise ConfigError(
            f"--data-root {root.address}: has no dataset to train on; `taiyi-ray datasets` lists "
            "what there is, and where to get it"
        )
    return chosen, notes


Count = Callable[[Iterable[tuple[str, Split]]], Iterator[Sequence[int]]]
"""Gives the sizes of the documents of each (dataset, split), in order: here or on a cluster."""


def sizes(dataset: str, split: Split, data_root: str, limit: int | None) -> list[int]:
    """The characters of each document of a split, of the first `limit` ones if it is not None."""
    found: list[int] = []
    for document in catalogue.load(dataset, split, data_root=data_root):
        if limit is not None and len(found) >= limit:
            break
        found.append(sum(len(passage.text) for passage in document.passages))
    return found


def parts(
    chosen: Sequence[Chosen],
    root: str,
    config: InstructConfig,
    options: dict[str, dict[str, Any]],
    count: Count,
) -> list[Part]:
    """Plan what is made of the chosen datasets.

    Args:
        chosen: the datasets.
        root: the address of the folder of the corpora.
        config: the settings.
        options: options of the tasks that the user gave, by task.
        count: finds the sizes of documents.
    """
    wanted = [(one, split) for one in chosen for split in one.splits]
    counted = count((one.entry.name, split) for one, split in wanted)
    return [
        part
        for (one, split), of_split in zip(wanted, counted, strict=True)
        for part in _parts(one, split, of_split, root, config, options)
    ]


def _parts(
    one: Chosen,
    split: Split,
    of_split: Sequence[int],
    root: str,
    config: InstructConfig,
    options: dict[str, dict[str, Any]],
) -> Iterator[Part]:
    """Yield the parts of a split: one for each stage that trains its tasks, and one of dev/."""
    documents = max(1, len(of_split))
    if split == "dev":
        dev_share = min(1.0, config.dev_documents / documents)
    elif "dev" in one.splits:
        dev_share = 0.0
    else:
        dev_share = min(_HELD_OUT_SHARE, config.dev_documents / documents)
    wanted: list[tuple[str, Holds, list[str]]] = []
    if split == "train":
        holds: Holds = "train" if dev_share else "all"
        wanted += [
            ("stage1", holds, [task for task in one.tasks if task not in STAGE_TWO]),
            ("stage2", holds, [task for task in one.tasks if task in STAGE_TWO]),
        ]
    if dev_share:
        wanted.append(("dev", "dev", list(one.tasks)))
    for folder, holds, tasks in wanted:
        if tasks:
            yield Part(
                name=f"{folder}/{one.entry.name}/{split}",
                dataset=one.entry.name,
                split=split,
                data_root=root,
                holds=holds,
                dev_share=dev_share,
                mixes={task: mix_of(one.entry, task, documents, config) for task in tasks},
                options={task: options[task] for task in tasks if task in options},
                units=cut(of_split, 0, UNIT_DOCUMENTS),
            )


def identity(
    config: InstructConfig,
    chosen: Sequence[Chosen],
    options: Mapping[str, Mapping[str, Any]],
    held_out: bytes,
) -> dict[str, Any]:
    """What decides the bytes of the output; another identity wants another output.

    Args:
        config: the settings.
        chosen: the datasets.
        options: options of the tasks that the user gave, by task.
        held_out: the index of the test sets.
    """
    settings = config.model_dump(
        exclude={"data_root", "output", "workers", "accept_terms", "task_file"}
    )
    settings["task_options"] = options
    return {
        "settings": settings,
        "entries": {
            one.entry.name: _digest(one.entry.model_dump_json().encode()) for one in chosen
        },
        "held_out": _digest(held_out),
    }


def asking_form(build: Build) -> AskingForm | None:
    """Return the form of all questions, but those for training only; None if there are more."""
    mixes = [mix for part in build.parts for task, mix in part.mixes.items() if task in TASKS]
    forms = {AskingForm(wording=n, headed=mix.headed) for mix in mixes for n in mix.wordings}
    return forms.pop() if len(forms) == 1 else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def load_build(output: str) -> Build | None:
    """Read OUT/_build.json; None when there is none; raises ConfigError for a file of another."""
    data = storage.read(storage.join(output, BUILD))
    if data is None:
        return None
    try:
        return Build.model_validate_json(data)
    except ValueError as error:
        raise ConfigError(
            f"{output}/{BUILD}: not of this program; choose another --output"
        ) from error
