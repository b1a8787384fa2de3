"""The plan of a build: which documents of which splits become which files. It is put once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, JsonValue

from taiyi_ray import catalogue, formats, storage
from taiyi_ray.catalogue import DataRoot, Entry
from taiyi_ray.catalogue.entry import SPLITS, Split
from taiyi_ray.config import BENCHMARKS, STAGE_FOLDERS, InstructConfig
from taiyi_ray.corpus.units import Unit, cut
from taiyi_ray.errors import ConfigError, MissingOption, unknown
from taiyi_ray.instruct import overlap
from taiyi_ray.instruct.inputs import Inputs
from taiyi_ray.instruct.instruction import STAGE_TWO, Mix
from taiyi_ray.instruct.mixture import mix_of, wordings
from taiyi_ray.models.trained import Trained, document_keys
from taiyi_ray.tasks import TASKS, TRAINING_ONLY, assign, select, template
from taiyi_ray.tasks.task import Assignment, Task
from taiyi_ray.tasks.template import AskingForm
from taiyi_ray.tasks.vocabulary import LANGUAGES

Holds = Literal["all", "train", "dev"]

BUILD = "_build.json"
"""The file of an output that holds its plan."""

_HELD_OUT_SHARE = 0.02
"""The most of a training split that is held out where no split of a dataset is for that."""

UNIT_DOCUMENTS = 500
"""Documents of a unit at most. It must not depend on the number of workers: files have equal bytes
on any number of them."""


class Part(BaseModel, frozen=True):
    """What one folder of the output holds: instructions from one split, for one stage or `dev/`.

    Attributes:
        name: the folder: `stage1/bc5cdr/train`.
        dataset, split: the documents.
        holds: which documents of the split it holds: `all`, those that are held out for
            development (`dev`), or the others (`train`).
        dev_share: the share of documents that are held out.
        expected: the records that the entry expects in the split; None where nobody has counted.
        mixes: how documents become instructions, by task.
        options: options of the tasks that the user gave (`--task-file`), by task.
        units: the first and the last position (inclusive) of each unit.
    """

    name: str
    dataset: str
    split: Split
    holds: Holds
    dev_share: float
    expected: int | None = None
    mixes: dict[str, Mix]
    options: dict[str, dict[str, JsonValue]]
    units: list[tuple[int, int]]

    @property
    def records(self) -> int:
        """The records of its split that are read, whichever part holds them."""
        return sum(unit.records for unit in self.all_units())

    @property
    def share(self) -> float:
        """The share of the records of its split that it holds."""
        return {"all": 1.0, "train": 1 - self.dev_share, "dev": self.dev_share}[self.holds]

    def all_units(self) -> list[Unit]:
        """The units, as objects of the output."""
        return [
            Unit(source=self.name, path=self.name, first=first, last=last)
            for first, last in self.units
        ]


class Build(BaseModel, frozen=True):
    """OUT/_build.json.

    Attributes:
        format: the version of this file's form.
        identity: what decides the bytes of the output: settings, entries, tasks, test sets.
        inputs: the files that are read.
        unchecked: the held-out splits that are not in the data root: nothing was compared with
            them.
        held_out: the name of the file with the index of the held-out splits.
        trained: the name of the file that says what the splits that train hold.
        parts: the plan.
    """

    format: int = 2
    identity: dict[str, Any]
    inputs: Inputs
    unchecked: list[str]
    held_out: str
    trained: str
    parts: list[Part]


class Chosen(NamedTuple):
    """A dataset to train on.

    Attributes:
        entry: its entry.
        tasks: its tasks that are built.
        splits: the splits that are read, `train` and `dev` where there is one, each with the number
            of records that the entry expects in it; None where nobody has counted.
    """

    entry: Entry
    tasks: tuple[str, ...]
    splits: Mapping[Split, int | None]


HeldOutSplits = Mapping[str, Sequence[Split]]
"""The splits that no dataset trains on, by the name of their dataset."""


def held_out_splits(config: InstructConfig) -> HeldOutSplits:
    """Find the splits that no dataset trains on, whether they are in the data root or not.

    Raises:
        ConfigError: no dataset or split has a name that `--held-out` gives.
    """
    found: dict[str, dict[Split, None]] = {}
    for given in config.held_out:
        if given == BENCHMARKS:
            for entry in catalogue.entries():
                if entry.held_out:
                    found.setdefault(entry.name, {}).update(dict.fromkeys(entry.held_out))
            continue
        name, slash, split = given.partition("/")
        origin = f"--held-out {given}"
        entry = catalogue.entry(name, origin, words=[BENCHMARKS])
        splits = [one for one in SPLITS if not slash or one == split]
        # Nobody has seen the splits of an entry without layouts.
        if slash and split not in (known := entry.splits or SPLITS):
            raise unknown(origin, f"split of {name}", split, known)
        found.setdefault(name, {}).update(dict.fromkeys(splits))
    return {name: tuple(splits) for name, splits in found.items()}


def compared(
    held_out: HeldOutSplits, root: DataRoot
) -> tuple[list[tuple[Entry, Split]], list[str]]:
    """Find the held-out splits that are in a data root, and the names of those that are not.

    Args:
        held_out: the splits that no dataset trains on.
        root: the data root.
    """
    here: list[tuple[Entry, Split]] = []
    absent: list[str] = []
    for name, splits in held_out.items():
        entry = catalogue.entry(name)
        present = catalogue.present(entry, root)
        here += [(entry, split) for split in splits if split in present]
        absent += [f"{name}/{split}" for split in splits if split not in present]
    return here, absent


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
    given = any(task in options for task in tasks)
    origin = f"--task-file, for {entry.name}" if given else entry.file
    return assign(tasks, of_entry, grammar=False, origin=origin, files=True, training=True)


def _askable(
    entry: Entry,
    tasks: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    lacking: dict[str, list[str]],
) -> tuple[str, ...]:
    """The tasks of which all options are given; `lacking` gets the dataset by what others lack."""
    found = []
    for task in tasks:
        try:
            assignments_of(entry, [task], options)
        except MissingOption as error:
            what = str(error).partition(": ")[2]  # without where it stands
            lacking.setdefault(what, []).append(entry.name)
        else:
            found.append(task)
    return tuple(found)


def _check_names(config: InstructConfig, options: Iterable[str]) -> None:
    """Raise ConfigError if a name that an option gives, other than --held-out, is that of nothing.

    Args:
        config: the settings.
        options: the tasks that the task file names.
    """
    tasks = [*TASKS, *TRAINING_ONLY]
    named = [(f"--tasks {name}", name) for name in config.tasks or ()]
    for origin, name in [*named, *((f"--task-file {config.task_file}", name) for name in options)]:
        if name not in tasks:
            raise unknown(origin, "task", name, tasks)
    for name in config.accept_terms:
        catalogue.entry(name, f"--accept-terms {name}")
    for name in config.rates:
        dataset, slash, task = name.partition("/")
        origin = f"--rate {name}"
        if slash:
            of_dataset = catalogue.entry(dataset, origin).tasks
            if task not in of_dataset:
                raise unknown(origin, f"task of {dataset}", task, of_dataset)
        elif name not in tasks:
            catalogue.entry(name, origin, kind="dataset or task", words=tasks)


def choose(
    config: InstructConfig,
    root: DataRoot,
    options: Mapping[str, Mapping[str, Any]],
    held_out: HeldOutSplits,
) -> tuple[list[Chosen], list[str]]:
    """Choose the datasets, and say in notes why others are left out.

    Args:
        config: the settings.
        root: the data root.
        options: options of the tasks that the user gave, by task.
        held_out: the splits that no dataset trains on.

    Raises:
        ConfigError: a name that an option gives is unknown, a dataset that was named is absent or
            held out, or consent to it is missing.
    """
    _check_names(config, options)
    named = config.datasets is not None
    wanted = (
        [catalogue.entry(name, f"--datasets {name}") for name in dict.fromkeys(config.datasets)]
        if config.datasets is not None
        else catalogue.entries()
    )
    chosen: list[Chosen] = []
    notes: list[str] = []
    without_consent: list[str] = []
    lacking: dict[str, list[str]] = {}
    for entry in wanted:
        tasks = tuple(t for t in entry.tasks if config.tasks is None or t in config.tasks)
        here = catalogue.present(entry, root)
        if "train" not in here or not tasks:
            if named:
                if "train" not in entry.splits and entry.layouts:
                    raise ConfigError(
                        f"--datasets {entry.name}: has no training split (only "
                        f"{', '.join(entry.splits)}); take it out of --datasets"
                    )
                # `load` says what is missing, and where to get it.
                next(iter(catalogue.load(entry, "train", data_root=root)))
                if not entry.tasks:
                    raise ConfigError(
                        f"--datasets {entry.name}: has gold for no task; take it out of --datasets"
                    )
                raise ConfigError(
                    f"--tasks {','.join(config.tasks or ())}: {entry.name} has gold for "
                    f"{', '.join(entry.tasks)} alone; take it out of --datasets, or name other "
                    "tasks"
                )
            continue
        splits = tuple(s for s in here if s not in ("test", *held_out.get(entry.name, ())))
        if "train" not in splits:
            if named:
                raise ConfigError(
                    f"--datasets {entry.name}: is held out of training by --held-out; take it away "
                    "from one of them"
                )
            notes.append(f"{entry.name} is left out: it is held out of training")
            continue
        if not named and entry.may_train != "yes" and entry.name not in config.accept_terms:
            without_consent.append(entry.name)
            continue
        tasks = _askable(entry, tasks, options, lacking)
        if not tasks:
            continue
        layouts = root.layouts(entry)
        expected = {split: layouts[split].splits[split].counts for split in splits}
        records = {s: of.documents + of.failed if of else None for s, of in expected.items()}
        chosen.append(Chosen(entry, tasks, records))
    notes += [
        f"left out for {', '.join(names)}: {what} (--task-file gives it)"
        for what, names in lacking.items()
    ]
    catalogue.check_terms([one.entry for one in chosen], config.accept_terms)
    if without_consent:
        notes.append(
            f"{len(without_consent)} datasets are left out, because their terms do not clearly "
            f"allow training (--accept-terms NAME): {', '.join(without_consent)}"
        )
    if not chosen:
        asked = f" of --tasks {','.join(config.tasks)}" if config.tasks else ""
        told = "".join(f"; {note}" for note in notes)
        raise ConfigError(
            f"--data-root {root.address}: has no dataset{asked} to train on{told}; "
            "`taiyi-ray datasets` lists what there is, and where to get it"
        )
    return chosen, notes


class Scanned(NamedTuple):
    """What was found in a split.

    Attributes:
        sizes: the characters of each document.
        keys: by which its documents are known again.
    """

    sizes: list[int]
    keys: npt.NDArray[np.uint64]


Scan = Callable[[Iterable[tuple[str, Split]]], Iterator[Scanned]]
"""Reads each (dataset, split), in order: here or on a cluster."""


def scan(dataset: str, split: Split, data_root: str, limit: int | None) -> Scanned:
    """Read a split, or its first `limit` documents if that is not None."""
    entry = catalogue.entry(dataset)
    sizes: list[int] = []
    keys: list[int] = []
    for document in catalogue.load(entry, split, data_root=data_root):
        if limit is not None and len(sizes) >= limit:
            break
        sizes.append(sum(len(passage.text) for passage in document.passages))
        keys += document_keys(document, entry.pmid_of(document.document_id))
    return Scanned(sizes, np.array(keys, np.uint64))


def parts(
    chosen: Sequence[Chosen],
    config: InstructConfig,
    options: dict[str, dict[str, Any]],
    scanning: Scan,
    unit_documents: int = UNIT_DOCUMENTS,
) -> tuple[list[Part], Trained]:
    """Plan what is made of the chosen datasets, and know what the splits that train hold.

    Args:
        chosen: the datasets.
        config: the settings.
        options: options of the tasks that the user gave, by task.
        scanning: reads the splits.
        unit_documents: the most documents of a unit.
    """
    made: list[Part] = []
    trained: dict[str, npt.NDArray[np.uint64]] = {}
    scanned = scanning((one.entry.name, split) for one in chosen for split in one.splits)
    for one in chosen:
        found = {split: next(scanned) for split in one.splits}
        sizes = {split: of.sizes for split, of in found.items()}
        made += _parts(one, sizes, config, options, unit_documents)
        trained |= {
            f"{one.entry.name}/{split}": of.keys
            for split, of in found.items()
            if _trains(split, config)
        }
    return made, Trained.of(trained)


def _parts(
    one: Chosen,
    sizes: Mapping[Split, Sequence[int]],
    config: InstructConfig,
    options: dict[str, dict[str, Any]],
    unit_documents: int,
) -> Iterator[Part]:
    """Yield the parts of a dataset: of each split one for each stage that trains, and one of dev/.

    Args:
        one: the dataset.
        sizes: the characters of the documents, by split.
        config: the settings.
        options: options of the tasks that the user gave, by task.
        unit_documents: the most documents of a unit.
    """
    first, second = STAGE_FOLDERS
    trained = max(1, sum(len(of) for split, of in sizes.items() if _trains(split, config)))
    for split, of_split in sizes.items():
        documents = max(1, len(of_split))
        trains = _trains(split, config)
        if not trains:
            dev_share = min(1.0, config.dev_documents / documents)
        elif all(_trains(other, config) for other in sizes):
            dev_share = min(_HELD_OUT_SHARE, config.dev_documents / trained)
        else:
            dev_share = 0.0
        # All splits that train are used alike: at the rate of `train`, and capped together.
        counts = (max(1, len(sizes["train"])), trained) if trains else (documents, documents)
        wanted: list[tuple[str, Holds, list[str]]] = []
        if trains:
            holds: Holds = "train" if dev_share else "all"
            wanted += [
                (first, holds, [task for task in one.tasks if task not in STAGE_TWO]),
                (second, holds, [task for task in one.tasks if task in STAGE_TWO]),
            ]
        if dev_share:
            wanted.append(("dev", "dev", list(one.tasks)))
        for folder, holds, tasks in wanted:
            if tasks:
                yield Part(
                    name=f"{folder}/{one.entry.name}/{split}",
                    dataset=one.entry.name,
                    split=split,
                    holds=holds,
                    dev_share=dev_share,
                    expected=one.splits[split],
                    mixes={task: mix_of(one.entry, task, *counts, config) for task in tasks},
                    options={task: options[task] for task in tasks if task in options},
                    units=cut(of_split, 0, unit_documents),
                )


def _trains(split: Split, config: InstructConfig) -> bool:
    return split == "train" or config.train_on_dev


def identity(
    config: InstructConfig,
    chosen: Sequence[Chosen],
    options: Mapping[str, Mapping[str, Any]],
    held_out: Sequence[tuple[Entry, Split]],
) -> dict[str, Any]:
    """What decides the bytes of the output, besides the files; another one wants another output.

    Args:
        config: the settings.
        chosen: the datasets.
        options: options of the tasks that the user gave, by task.
        held_out: the splits that training documents are compared with.
    """
    settings = config.model_dump(
        exclude={"data_root", "output", "workers", "accept_terms", "task_file", "held_out"}
    )
    settings["task_options"] = options
    return {
        "settings": settings,
        "entries": {one.entry.name: _digest_of(one.entry) for one in chosen},
        "formats": {name: formats.version_of(name) for one in chosen for name in one.entry.formats},
        "tasks": {
            task.name: _asks(task, config)
            for task in select(sorted({t for one in chosen for t in one.tasks}), training=True)
        },
        "held_out": {
            "comparison": overlap.VERSION,
            **{f"{entry.name}/{split}": _digest_of(entry) for entry, split in held_out},
        },
    }


def asking_form(build: Build) -> AskingForm | None:
    """Return the form of all questions, but those for training only; None if there are more."""
    mixes = [mix for part in build.parts for task, mix in part.mixes.items() if task in TASKS]
    forms = [
        AskingForm(wording=n, headed=mix.headed, document_first=mix.first == 1)
        for mix in mixes
        for n in mix.wordings
    ]
    return forms[0] if forms and all(form == forms[0] for form in forms) else None


def _asks(task: Task, config: InstructConfig) -> str:
    """A digest of how a task asks and answers."""
    digests = [
        template.digest(task.template, language, wording)
        for language in LANGUAGES
        for wording in wordings(task, config)
    ]
    return digest(json.dumps([task.version, digests]).encode())


def _digest_of(entry: Entry) -> str:
    return digest(entry.model_dump_json().encode())


def digest(data: bytes) -> str:
    """16 hexadecimal digits of the SHA-256 of data."""
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
