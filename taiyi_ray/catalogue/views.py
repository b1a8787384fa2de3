"""The catalogue for people and scripts: tables, an entry with a record, JSON, documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from taiyi_ray import highlight
from taiyi_ray.catalogue.checks import Checked
from taiyi_ray.catalogue.entry import MAY_TRAIN, SPLITS, Entry, Split, entries
from taiyi_ray.catalogue.files import DataRoot
from taiyi_ray.catalogue.loading import absent, load, unseen
from taiyi_ray.errors import ConfigError, unknown
from taiyi_ray.records import Document

_LONG = 1500
"""The most characters of a record that are shown."""

_FEW = 12
"""The most concepts, relations, events, labels or texts of a record that are shown."""

_COLOURS = ("red", "cyan", "green", "yellow", "magenta", "blue")


def chosen(
    entries: Iterable[Entry],
    *,
    task: str | None = None,
    language: str | None = None,
    root: DataRoot | None = None,
    present: bool = False,
) -> list[Entry]:
    """Return the entries that pass all filters.

    Args:
        entries: the entries.
        task: a task that they have.
        language: a language that they have.
        root: the data root, if there is one.
        present: keep only entries of which a split is below the data root.

    Raises:
        ConfigError: no entry has this task or language, or `present` has no data root.
    """
    every = list(entries)
    for option, name, known in (
        ("--task", task, {name for one in every for name in one.tasks}),
        ("--language", language, {code for one in every for code in one.language}),
    ):
        if name is not None and name not in known:
            kind = f"{option.removeprefix('--')} of a dataset"
            raise unknown(f"{option} {name}", kind, name, sorted(known))
    if present and root is None:
        raise ConfigError("--present: needs --data-root, the folder of your corpora")
    return [
        one
        for one in every
        if (task is None or task in one.tasks)
        and (language is None or language in one.language)
        and not (present and root is not None and not root.splits(one))
    ]


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table that a narrow terminal shows in more lines, without a break inside a word."""
    shown = Table(box=None, padding=(0, 1, 0, 0))
    rows = list(rows)
    for number, name in enumerate(names):
        cells = [name, *(row[number] for row in rows)]
        longest = max(len(word) for cell in cells for word in cell.split())
        # Only what can give way may: rich would take from the others, too.
        shown.add_column(name, min_width=longest, no_wrap=longest == max(map(len, cells)))
    for row in rows:
        shown.add_row(*row)
    return shown


def as_dict(entry: Entry, root: DataRoot | None) -> dict[str, Any]:
    """An entry as values for JSON; `present` is None without a data root."""
    here = list(root.splits(entry)) if root else []
    return {
        "name": entry.name,
        "group": entry.group,
        "language": list(entry.language),
        "tasks": list(entry.tasks),
        "present": bool(here) if root else None,
        "splits": here,
        "verified": entry.verified,
        "may_train": entry.may_train,
        "agreement": entry.agreement,
        "licence": entry.licence,
        "address": entry.address,
    }


def table(entries: Sequence[Entry], root: DataRoot | None) -> Table:
    """The entries as a table, a line each."""
    names = ["dataset", "language", "tasks", "may train"]
    rows = [
        [
            entry.name,
            ", ".join(entry.language),
            ", ".join(entry.tasks),
            entry.may_train.replace("_", " "),
        ]
        for entry in entries
    ]
    if root is not None:
        names.append("present")
        for entry, row in zip(entries, rows, strict=True):
            row.append(", ".join(root.splits(entry)) or "absent")
    return _table(names, rows)


def page(entry: Entry, root: DataRoot | None) -> Group:
    """All that an entry says, and the first record with gold that is here, with its marks."""
    parts: list[RenderableType] = [Text(entry.name, "bold"), Text(entry.description), _facts(entry)]
    if root is None:
        parts.append(Text("\n--data-root shows a record of it", "dim"))
    elif not (here := root.splits(entry)):
        told = absent(entry, entry.splits[0], root) if entry.layouts else unseen(entry)
        parts.append(Text(f"\nabsent: {told}", "dim"))
    elif (document := _sample(entry, here[0], root)) is not None:
        where = f"{document.source}, record {document.position}"
        parts += [Text(f"\n{document.document_id} ({where})", "bold"), *_marked(document)]
    return Group(*parts)


def _facts(entry: Entry) -> Table:
    sizes = [f"{split} {number:,}" for split, number in entry.listed.items()]
    terms = {term.name: None for term in (*entry.types.values(), *entry.events.values()) if term}
    shares = [f"{share.task} {share.records:,} (stage {share.stage})" for share in entry.mix]
    facts = {
        "group": entry.group if entry.row is None else f"{entry.group}, row {entry.row}",
        "language": ", ".join(entry.language),
        "tasks": ", ".join(entry.tasks),
        "format": ", ".join(entry.formats) or "not known",
        "types": ", ".join(terms),
        "relations": ", ".join({term.name: None for term in entry.relations.values() if term}),
        "licence": entry.licence or "not known",
        "terms": entry.terms or "not known",
        "may train": MAY_TRAIN[entry.may_train],
        "agreement": {True: "needed", False: "not needed", None: "not known"}[entry.agreement],
        "address": entry.address or "not known",
        "paper": entry.paper or "not known",
        "as Taiyi lists it": ", ".join(sizes),
        "in Taiyi's mix": "; ".join(shares),
        "held out of training": ", ".join(entry.held_out),
        "read here": "yes" if entry.verified else "no",
        "notes": entry.notes or "",
    }
    shown = Table(box=None, show_header=False)
    for name, value in facts.items():
        if value:
            shown.add_row(Text(name, "dim"), Text(value, overflow="fold"))
    return shown


def _sample(entry: Entry, split: Split, root: DataRoot) -> Document | None:
    """The first of some records that has gold, else the first that was read."""
    read = [
        document
        for document in islice(load(entry, split, data_root=root), 20)
        if document.status != "failed"
    ]
    with_gold = (d for d in read if any(getattr(d.gold, name) for name in d.gold.__slots__))
    return next(with_gold, next(iter(read), None))


def _marked(document: Document) -> Iterator[Text]:
    types = sorted({mention.type for mention in document.gold.mentions if mention.type})
    colours = highlight.colours(types)
    styles: dict[str | None, str] = {
        name: f"underline {_COLOURS[(colours[name] or 0) % len(_COLOURS)]}" for name in types
    }
    if any(mention.type is None for mention in document.gold.mentions):
        styles[None] = "underline"  # the ends of relations alone, or what no task asks for
    shown = Text(document.text)
    for mention in document.gold.mentions:
        if mention.start is not None and mention.end is not None:
            pieces = [(s.start, s.end) for s in mention.spans] or [(mention.start, mention.end)]
            for start, end in pieces:
                shown.stylize(styles[mention.type], start, end)
    if len(shown) > _LONG:
        shown = shown[:_LONG].append(" …")
    yield shown
    if styles:
        yield Text("  ").join(Text(name or "no type", style) for name, style in styles.items())
    gold = document.gold
    concepts = dict.fromkeys(
        f"nen: {mention.text} → {of.id}" + (f" {of.name}" if of.name not in (None, of.id) else "")
        for mention in gold.mentions
        if (of := mention.concept)
    )
    lines = list(concepts)[:_FEW]
    lines += [f"{r.type}: {r.head_text} → {r.tail_text}" for r in gold.relations[:_FEW]]
    for event in gold.events[:_FEW]:
        arguments = ", ".join(f"{argument.role} {argument.text}" for argument in event.arguments)
        lines.append(f"{event.type}: {arguments}")
    lines += [f"{label.task}: {label.label}" for label in gold.labels[:_FEW]]
    lines += [f"{text.task}: {text.text[:_LONG]}" for text in gold.texts[:_FEW]]
    for line in lines:
        yield Text(line)


def checks_table(checked: Sequence[Checked]) -> Table:
    """What stands in the splits of a dataset, and what is recorded about its records."""
    names = ("documents", "failed", "mentions", "relations", "events", "labels", "texts")
    rows = [
        (
            one.split,
            *(f"{getattr(one.found, name):,}" for name in names),
            ", ".join(f"{kind} {number:,}" for kind, number in sorted(one.reasons.items())),
        )
        for one in sorted(checked, key=lambda one: SPLITS.index(one.split))
    ]
    return _table(["split", *names, "recorded"], rows)


def types_table(checked: Sequence[Checked]) -> Table:
    """How often each term is annotated, over all splits."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in checked:
        counts.update(one.types)
    shown = Table("gold", "term", "number", box=None)
    for (kind, term), number in sorted(counts.items(), key=lambda item: (item[0][0], -item[1])):
        shown.add_row(kind, term, f"{number:,}")
    return shown


# ---------------------------------------------------------------------------------- documentation

_GROUPS = {
    "taiyi": "### The 140 datasets of Taiyi\n\nIn the order of its list, English before Chinese.",
    "mix": "### Only in Taiyi's instruction mix",
    "further": "### Further datasets",
}


def summary() -> str:
    """The sentences that count the catalogue, for README and docs/datasets.md."""
    every = entries()
    taiyi = [entry for entry in every if entry.group == "taiyi"]
    english = sum(entry.language[0] == "en" for entry in taiyi)
    mix, further = (sum(one.group == group for one in every) for group in ("mix", "further"))
    read = sum(entry.verified for entry in every)
    return (
        f"The catalogue describes {len(every)} datasets: the {len(taiyi)} of Taiyi ({english} "
        f"English, {len(taiyi) - english} Chinese), {mix} more of its instruction mix, and "
        f"{further} others.\nReal records of {read} of them were read here, among them "
        f"{sum(entry.verified for entry in taiyi)} of Taiyi's; of the other {len(every) - read} "
        "only what is published is known.\n"
    )


def markdown() -> str:
    """The entries as a table for each group, and notes, for docs/datasets.md."""
    parts = []
    for group, heading in _GROUPS.items():
        rows = [_row(entry) for entry in entries() if entry.group == group]
        parts += [heading, "", *_HEAD, *rows, ""]
    return "\n".join([*parts, "### Notes", "", *map(_note, entries()), ""])


_HEAD = (
    "| dataset | language | tasks | format | licence | may train | as listed | read here "
    "| in the mix |",
    "|---|---|---|---|---|---|---|---|---|",
)


def _row(entry: Entry) -> str:
    counts = next((layout.splits for layout in entry.layouts), {})
    here = [
        f"{split} {files.counts.documents:,}" for split, files in counts.items() if files.counts
    ]
    cells = [
        f"[{entry.name}]({entry.address})" if entry.address else entry.name,
        ", ".join(entry.language),
        ", ".join(entry.tasks),
        ", ".join(entry.formats),
        entry.licence or "",
        entry.may_train.replace("_", " "),
        " / ".join(f"{number:,}" for number in entry.listed.values()),
        ", ".join(here),
        ", ".join(f"{share.task} {share.records:,}" for share in entry.mix),
    ]
    return f"| {' | '.join(cells)} |"


def _note(entry: Entry) -> str:
    terms = f"Terms: {entry.terms}." if entry.terms else "Its terms are not known."
    agreement = " Access needs an agreement or a registration." if entry.agreement else ""
    notes = f" {entry.notes}" if entry.notes else ""
    return f"- **{entry.name}**: {entry.description} {terms}{agreement}{notes}"
