"""Checks of a dataset that lies below a data root, against what its entry says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from taiyi_ray.catalogue.entry import Entry, Expected, Split
from taiyi_ray.catalogue.files import DataRoot
from taiyi_ray.catalogue.loading import Root, absent, load, root_of, unseen
from taiyi_ray.errors import ConfigError
from taiyi_ray.records import Document


@dataclass(slots=True)
class Checked:
    """What stands in a split of a dataset.

    Attributes:
        split: the split.
        found: what was counted.
        expected: what the entry expects; None where nobody has counted before.
        types: the gold mentions, relations, events and labels, by kind and term.
        reasons: the broken records and the notes on gold, by kind; and how many texts stand in the
            dataset before, by the split that they stand in (`text also in train`).
        faults: what is wrong, a line each; empty for a split that is as it should be.
    """

    split: Split
    found: Expected
    expected: Expected | None
    types: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def check(entry: Entry, data_root: Root) -> list[Checked]:
    """Read all splits of a dataset that are here, and compare them with the entry.

    Raises:
        ConfigError: no split is here, or one cannot be read at all or has a type that the entry
            does not know.
    """
    root = root_of(data_root)
    here = root.layouts(entry)
    if not here:
        raise ConfigError(absent(entry, entry.splits[0], root) if entry.layouts else unseen(entry))
    seen: dict[str, Split] = {}
    return [
        _checked(entry, split, layout.splits[split].counts, root, seen)
        for split, layout in here.items()
    ]


def _checked(
    entry: Entry, split: Split, expected: Expected | None, root: DataRoot, seen: dict[str, Split]
) -> Checked:
    """Check a split.

    Args:
        entry: the entry.
        split: the split.
        expected: what is expected in it.
        root: the data root.
        seen: the first split of each text, by its digest; the texts of this split are added.
    """
    counts: Counter[str] = Counter(documents=0)
    noted: Counter[str] = Counter()
    first: dict[str, str] = {}  # what is recorded of the first broken record, and by kind of note
    checked = Checked(split, Expected(documents=0), expected)
    for document in load(entry, split, data_root=root):
        checked.reasons.update(failure.kind for failure in document.errors)
        where = f"{document.source}, record {document.position}"
        if document.status == "failed":
            counts["failed"] += 1
            first.setdefault("failed", f"{where}: {document.errors[0].message}")
            continue
        for failure in document.errors:
            noted[failure.kind] += 1
            first.setdefault(failure.kind, f"{where}: {failure.message}")
        counts["documents"] += 1
        digest = document.content_hash()
        if digest in seen:
            checked.reasons[f"text also in {seen[digest]}"] += 1
        seen.setdefault(digest, split)
        counts.update(_annotations(document))
        checked.types.update(_types(document))
    checked.found = Expected(**counts, noted=noted)
    if expected is not None:
        checked.faults += _differences(split, checked.found, expected, first)
    return checked


def _differences(
    split: Split, found: Expected, expected: Expected, first: Mapping[str, str]
) -> list[str]:
    """Say what differs, a line each, and where the first record is of which that is known.

    Args:
        split: the split.
        found: what was counted.
        expected: what is expected.
        first: what is recorded of the first broken record (`failed`), and by kind of note.
    """
    faults = []
    recorded = ""
    for name in ("failed", *sorted(found.noted.keys() | expected.noted)):
        number, wanted = (
            one.failed if name == "failed" else one.noted.get(name, 0) for one in (found, expected)
        )
        if number != wanted:
            told = f" (the first: {first[name]})" if name in first else ""
            recorded = recorded or first.get(name, "").partition(": ")[0]
            what = name if name == "failed" else f"documents with {name}"
            faults.append(f"{split}: {number} {what}, where {wanted} are expected{told}")
    for name in ("documents", *_annotations(Document(None))):
        number, wanted = getattr(found, name), getattr(expected, name)
        if number != wanted:
            told = f" (see {recorded})" if recorded else ""
            faults.append(f"{split}: {number} {name}, where {wanted} are expected{told}")
    return faults


def _annotations(document: Document) -> dict[str, int]:
    gold = document.gold
    return {
        "mentions": len(gold.mentions),
        "relations": len(gold.relations),
        "events": len(gold.events),
        "labels": len(gold.labels),
        "texts": len(gold.texts),
    }


def _types(document: Document) -> Counter[tuple[str, str]]:
    gold = document.gold
    return Counter(
        [("mention", mention.type or "(left out)") for mention in gold.mentions]
        + [("relation", relation.type) for relation in gold.relations]
        + [("event", event.type) for event in gold.events]
        + [(label.task, label.label) for label in gold.labels]
        + [("text", text.task) for text in gold.texts]
    )
