"""Documents of the catalogue's datasets, with gold in the terms of this program."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from os import PathLike

from taiyi_ray import formats, storage
from taiyi_ray.catalogue.entry import MAY_TRAIN, SPLITS, Entry, Layout, Split, entry
from taiyi_ray.catalogue.files import DataRoot, opened
from taiyi_ray.errors import ConfigError, first_line, nearest
from taiyi_ray.records import Document, Event, Label
from taiyi_ray.storage import Stored
from taiyi_ray.tasks.vocabulary import LANGUAGES, Term

Root = str | PathLike[str] | DataRoot


def root_of(data_root: Root) -> DataRoot:
    """The data root of an address, or itself."""
    return data_root if isinstance(data_root, DataRoot) else DataRoot(data_root)


def present(wanted: Entry, data_root: Root) -> tuple[Split, ...]:
    """The splits of a dataset whose files are all below a data root. Archives are not opened.

    Args:
        wanted: the entry.
        data_root: the folder of the user's corpora.
    """
    return root_of(data_root).splits(wanted)


def load(name: str | Entry, split: str, *, data_root: Root) -> Iterator[Document]:
    """Read a split of a dataset, one document at a time.

    A broken record gives a document with the status `failed` and the reason in its `errors`, as in
    a corpus job. The gold has the terms of the entry: `Mention.type` is the name of one, or None
    where the entry leaves the type out. The passages of a dataset in one language are in this
    language, whatever their letters.

    Args:
        name: the name of the dataset, or its entry.
        split: `train`, `dev` or `test`.
        data_root: the folder of the user's corpora; files are found by the patterns of the entry.

    Returns:
        The documents, in the order of the files' names. `source` is the name of the file below the
        data root.

    Raises:
        ConfigError: the dataset or split is unknown, nobody has described its files yet, they are
            not here, or the gold has a type that the entry does not know.
        StorageError: a file cannot be read.
    """
    wanted = name if isinstance(name, Entry) else entry(name)
    asked = next((known for known in SPLITS if known == split), None)
    if asked is None:
        raise ConfigError(f"no split is called {split!r}{nearest(split, SPLITS)}")
    if not wanted.layouts:
        raise ConfigError(unseen(wanted))
    if asked not in wanted.splits:
        raise ConfigError(
            f"{wanted.name}: has no split {split!r} (splits: {', '.join(wanted.splits)})"
        )
    root = root_of(data_root)
    layout = root.layouts(wanted).get(asked)
    if layout is None:
        raise ConfigError(absent(wanted, asked, root))
    return _Reader(wanted, layout, asked, root).documents()


def stored(wanted: Entry, split: Split, root: DataRoot) -> dict[str, Stored]:
    """The files that `load` reads for a split that is here, by their names below the data root.

    Args:
        wanted: the entry.
        split: a split of which all files are in the data root.
        root: the data root.
    """
    layout = root.layouts(wanted)[split]
    files = layout.splits[split]
    names = root.read_for(files)
    format_ = wanted.format_of(layout, files)
    names += sorted({other for name in names for other in formats.beside(name, format_)})
    return {name: root.stored[name] for name in names if name in root.stored}


def unseen(wanted: Entry) -> str:
    """Say in a line that an entry cannot be read yet."""
    return (
        f"{wanted.name}: nobody here has seen its files yet, so that it cannot be read; "
        f"fill in format, layouts and maps of {wanted.file}"
    )


def absent(wanted: Entry, split: Split, root: DataRoot) -> str:
    """Say in a line that a split is not below a data root, and where to get it."""
    patterns = [
        pattern
        for layout in wanted.layouts
        if split in layout.splits
        for pattern in root.lacking(layout.splits[split])
    ]
    terms = f"; terms: {wanted.terms}" if wanted.terms else ""
    return (
        f"{wanted.name}: the files of its {split} split are not below {root.address} "
        f"(looked for {' or '.join(dict.fromkeys(patterns))}); "
        f"get it at {wanted.address or 'an address that is not known'}{terms}"
    )


def check_terms(chosen: Iterable[Entry], accepted: Collection[str]) -> None:
    """Check that the user consents to train on datasets whose owners do not clearly allow it.

    Args:
        chosen: the entries to train on.
        accepted: the names that `--accept-terms` gives.

    Raises:
        ConfigError: consent to one is missing, or a name is that of no chosen dataset.
    """
    chosen = list(chosen)
    names = {one.name for one in chosen}
    if others := sorted(set(accepted) - names):
        raise ConfigError(
            f"--accept-terms {others[0]}: is none of the datasets that are chosen; take it away, "
            "or see that its files are there and that no option leaves it out"
        )
    missing = [one for one in chosen if one.may_train != "yes" and one.name not in accepted]
    if missing:
        first = missing[0]
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ConfigError(
            f"{first.name}: whether it may train a model: {MAY_TRAIN[first.may_train]} "
            f"({first.terms or 'its terms are not known'}); read its terms, then "
            f"--accept-terms {first.name}, or leave it out{more}"
        )


class _Reader:
    """Reads one split of an entry.

    Args:
        wanted: the entry.
        layout: one of its layouts.
        split: a split of the layout, whose files are in the data root.
        root: the data root.
    """

    def __init__(self, wanted: Entry, layout: Layout, split: Split, root: DataRoot) -> None:
        self._entry = wanted
        self._split = split
        self._root = root
        self._files = layout.splits[split]
        self._format = wanted.format_of(layout, self._files)
        self._ids = self._listed(self._files.ids)
        self._without = self._listed(self._files.without_ids)

    def documents(self) -> Iterator[Document]:
        """Yield the documents of the split; raises ConfigError when all of them failed."""
        good, first_failure = 0, ""
        for file in opened(self._entry, self._files, self._root):
            read = formats.documents(
                file.stream,
                file.path,
                self._format,
                file.name,
                0,
                sys.maxsize - 1,
                read=file.beside,
            )
            for document in read:
                if document.status == "failed":
                    reason = document.errors[0].message
                    where = f"{file.name}, record {document.position}"
                    first_failure = first_failure or f"{where}: {reason}"
                    yield document
                elif self._is_of_split(document):
                    good += 1
                    yield self._mapped(document)
        if first_failure and not good:
            raise ConfigError(
                f"{self._entry.name}: no record of its {self._split} split is of the format "
                f"{self._format.name}: {first_failure}; put the right file there, or correct "
                f"{self._entry.file}"
            )

    def _listed(self, pattern: str | None) -> frozenset[str] | None:
        """The ids in the files of a pattern: one a line, or keys or items of a JSON value."""
        if pattern is None:
            return None
        found: set[str] = set()
        for name in self._root.matching(pattern):
            data = storage.read(self._root.address_of(name)) or b""
            try:
                text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
                listed = json.loads(text) if text.lstrip()[:1] in ("{", "[") else text.split()
            except (OSError, EOFError, zlib.error, ValueError) as error:
                raise ConfigError(
                    f"{self._entry.name}: {name} is no list of ids ({first_line(error)}); "
                    f"put the right file there, or correct {self._entry.file}"
                ) from error
            found |= {str(id_) for id_ in listed}
        return frozenset(found)

    def _is_of_split(self, document: Document) -> bool:
        if self._ids is not None and document.document_id not in self._ids:
            return False
        if self._without is not None and document.document_id in self._without:
            return False
        return all(document.metadata.get(k) == v for k, v in self._files.where.items())

    # -------------------------------------------------------------------------------- gold in terms

    def _mapped(self, document: Document) -> Document:
        gold, wanted = document.gold, self._entry
        if len(wanted.language) == 1:
            # A record in Chinese may hold Latin letters alone: a drug, an abbreviation.
            for passage in document.passages:
                if passage.language in LANGUAGES:
                    passage.language = wanted.language[0]

        def term(field: str, known: Mapping[str, Term | None], name: str) -> Term | None:
            return self._term(document, field, known, name)

        for mention in gold.mentions:
            if mention.type is not None:
                found = term("types", wanted.types, mention.type)
                mention.type = found.name if found else None
        gold.relations = [
            replace(relation, type=found.name)
            for relation in gold.relations
            if (found := term("relations", wanted.relations, relation.type))
        ]
        gold.events = [
            self._event(document, event, found.name)
            for event in gold.events
            if (found := term("events", wanted.events, event.type))
        ]
        gold.labels = [kept for label in gold.labels if (kept := self._label(document, label))]
        return document

    def _event(self, document: Document, event: Event, name: str) -> Event:
        roles = self._entry.roles
        arguments = [
            replace(argument, role=found.name)
            for argument in event.arguments
            if (found := self._term(document, "roles", roles, argument.role))
        ]
        return replace(event, type=name, arguments=arguments)

    def _label(self, document: Document, label: Label) -> Label | None:
        known = self._entry.labels.get(label.task, {})
        if known is None:
            return label
        found = self._term(document, f"labels.{label.task}", known, label.label)
        return replace(label, label=found.name) if found else None

    def _term(
        self, document: Document, field: str, known: Mapping[str, Term | None], name: str
    ) -> Term | None:
        if name not in known:
            raise ConfigError(
                f"{self._entry.name}: {document.source}, record {document.position}: "
                f"{name!r} is not in the map `{field}`; add it there in {self._entry.file}, "
                f"with null to leave it out"
            )
        return known[name]
