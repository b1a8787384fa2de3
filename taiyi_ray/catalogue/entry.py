"""An entry of the catalogue, read strictly from its YAML file.

What nobody here has seen is null: an entry is `verified` only where real records of it were parsed.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from taiyi_ray import formats
from taiyi_ray.config import explain
from taiyi_ray.errors import ConfigError, nearest, unknown
from taiyi_ray.formats.format import Format
from taiyi_ray.tasks import TASKS, TRAINING_ONLY
from taiyi_ray.tasks.events import TRIGGER, EventType
from taiyi_ray.tasks.options import term_of
from taiyi_ray.tasks.pairs import ENTAILMENT, SIMILARITY
from taiyi_ray.tasks.vocabulary import MENTION_TYPES, RELATION_TYPES, Term

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

MAY_TRAIN = {
    "yes": "yes",
    "no": "no",
    "unknown": "not known",
    "in_house": "only for a model that stays in the house",
}
"""The words for what an owner's terms say about training, by the value of `may_train`."""


class _Loader(yaml.SafeLoader):
    """Reads YAML, and refuses a mapping in which a key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[0]!r} stands twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _yaml(file: Traversable) -> Any:
    try:
        return yaml.load(file.read_bytes(), _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file.name}: not YAML: {' '.join(str(error).split())}") from error


@cache
def _shared_terms() -> dict[str, dict[str, Term]]:
    """The terms that maps of entries may name, by field: of the tasks, and of terms.yaml."""
    known: dict[str, dict[str, Term]] = {
        "types": {term.name: term for term in MENTION_TYPES},
        "relations": {term.name: term for term in RELATION_TYPES},
        "roles": {},
    }
    file = resources.files(__package__).joinpath("terms.yaml")
    for field, named in _yaml(file).items():
        known[field] |= {name: term_of(name, labels) for name, labels in named.items()}
    return known


def _term(gold: str, value: object, known: Mapping[str, Term]) -> Term | None:
    """Read one value of a map: the name of a known term, a term of its own, or null."""
    if value is None or isinstance(value, Term):
        return value
    if isinstance(value, str):
        if value not in known:
            raise ValueError(f"{gold}: no term is called {value!r}{nearest(value, known)}")
        return known[value]
    if not isinstance(value, Mapping):
        raise ValueError(f"{gold}: expected the name of a term, or {{name:, en:, zh:}}")
    labels = dict(value)
    return term_of(labels.pop("name", gold), labels)


def _map_of(field: str) -> BeforeValidator:
    def read(value: object) -> object:
        if not isinstance(value, Mapping):
            raise ValueError("expected the dataset's own names, each with a term")
        return {
            str(gold): _term(str(gold), given, _shared_terms()[field])
            for gold, given in value.items()
        }

    return BeforeValidator(read)


_ANSWERS: dict[str, tuple[Term, ...]] = {"similarity": SIMILARITY, "entailment": ENTAILMENT}
"""The labels that tasks have of their own."""


def _labels(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError("expected tasks, each with the dataset's own labels")
    return {
        task: None
        if labels is None
        else {
            str(gold): _term(str(gold), given, {t.name: t for t in _ANSWERS.get(task, ())})
            for gold, given in labels.items()
        }
        for task, labels in value.items()
    }


def _events(value: object) -> object:
    if not isinstance(value, Mapping):
        raise ValueError("expected the dataset's own types of events, each with its roles")
    return {
        gold: given if given is None or isinstance(given, EventType) else _event(gold, given)
        for gold, given in value.items()
    }


def _event(gold: object, given: object) -> EventType:
    """Read `[Role, ...]`, or the roles with the name, labels and trigger of the event."""
    values: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"roles": given}
    roles, trigger = values.pop("roles", None), values.pop("trigger", TRIGGER.name)
    if not isinstance(roles, list) or trigger not in (TRIGGER.name, None):
        raise ValueError(f"{gold}: expected roles, as in [Theme, Cause]; `trigger` may be null")
    term = term_of(values.pop("name", str(gold)), values)
    shared = _shared_terms()["roles"]
    if odd := [role for role in roles if role not in shared]:
        raise ValueError(f"{gold}: no role is called {odd[0]!r}{nearest(odd[0], shared)}")
    players = tuple(shared[role] for role in roles)
    return EventType(term.name, term.en, term.zh, players, TRIGGER if trigger else None)


def _pattern(value: object) -> object:
    """See that a text is a regular expression with one group."""
    if isinstance(value, str):
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from error
        if groups != 1:
            raise ValueError("expected a regular expression with one group, as in PMID-([0-9]+)")
    return value


def _yes_or_no(value: object) -> object:
    """Read what YAML makes of a bare `yes` or `no` as that word."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _one_or_more(value: object) -> object:
    """Read a value that stands alone as the only one of a list."""
    return [value] if isinstance(value, str) else value


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Archived(_Strict):
    """Files inside an archive.

    Attributes:
        archive: the pattern of the archive's name below the data root (zip, tar, tar.gz).
        members: patterns of the files' names inside it.
    """

    archive: str
    members: tuple[str, ...] = Field(min_length=1)


class Expected(_Strict):
    """What is expected in a split: documents, what of their gold, and broken records.

    Attributes:
        documents: the records that are read, without those that failed.
        failed: the records that are broken at the source.
        mentions, relations, events, labels, texts: gold annotations of all documents.
        noted: the documents whose gold has a fault that reading mended or left out, by its kind
            (`formats/gold.py`): offsets that follow another way to count, for example.
    """

    documents: int
    failed: int = 0
    mentions: int = 0
    relations: int = 0
    events: int = 0
    labels: int = 0
    texts: int = 0
    noted: dict[str, int] = {}


class SplitFiles(_Strict):
    """The files of a split.

    Attributes:
        files: patterns of their names below the data root (`*`, `?`, `[...]`, `**` for folders), or
            files inside an archive. Every pattern must match.
        ids: the pattern of a file that lists the ids of the documents that are of the split: one a
            line, or the keys of a JSON object, or a JSON array.
        without_ids: the same for documents that are not of the split.
        where: the metadata that the documents of the split have.
        format_options: the options of the format that hold for this split alone.
        counts: what is expected in it; None where nobody has counted.
    """

    files: tuple[str | Archived, ...] = Field(min_length=1)
    ids: str | None = None
    without_ids: str | None = None
    where: dict[str, str] = {}
    format_options: dict[str, JsonValue] = {}
    counts: Expected | None = None


class Layout(_Strict):
    """One way in which the files of a dataset lie below a data root.

    Attributes:
        origin: where files lie so: a repository, an official archive, a part that somebody cut.
        format: the name of their format, where it is not that of the entry.
        format_options: the options of this format.
        splits: the files of each split.
    """

    origin: str
    format: str | None = None
    format_options: dict[str, JsonValue] = {}
    splits: dict[Split, SplitFiles] = Field(min_length=1)


class MixShare(_Strict):
    """What Taiyi's published instruction mix took from a dataset for one task.

    Attributes:
        name: the name in the mix.
        task: Taiyi's code of the task.
        records: the number of instructions.
        stage: the stages that saw them: `1+2` or `2`.
        note: what the published numbers leave open.
    """

    name: str
    task: str
    records: int
    stage: Literal["1+2", "2"]
    note: str | None = None


class Entry(_Strict):
    """A dataset.

    Attributes:
        name: its name, which is also the name of its file in `rows/`.
        group: `taiyi` for one of the 140 datasets of Taiyi, `mix` for one that only Taiyi's
            published instruction mix has, `further` for any other.
        row: its number in Taiyi's list: `en-1` to `en-102`, `zh-1` to `zh-38`.
        description: what it is, in a sentence.
        language: ISO 639-1 codes.
        tasks: the tasks that its gold is for.
        format: the name of its file format; None when nobody here has seen it.
        format_options: the options of the format: which field or column holds what.
        layouts: the ways in which its files lie below a data root; the one of which most splits
            are there is read, and of equals the first.
        types, relations, roles: the terms for the dataset's own names. None as a term leaves the
            type out: the corpus has it, and no task asks for it.
        events: the terms and roles of the dataset's own types of events.
        labels: the terms for the dataset's own labels, by task. None in place of a map keeps the
            labels as they are: letters of choices.
        task_options: the options of its tasks, by task, besides what the maps give.
        licence: the name of the licence; None when it is not known.
        terms: what is known of the terms, in words.
        agreement: whether access needs an agreement or a registration; None when it is not known.
        may_train: whether its owner allows to train models with it. All but `yes` need consent.
        address: where to get it.
        paper: the address of the paper that describes it.
        held_out: the splits that benchmarks measure with: no dataset trains on their documents.
        pmids: whether the identifiers of its documents are those of PubMed; or the pattern of an
            identifier that holds one, which is its group.
        listed: the number of records of each split as Taiyi lists it.
        mix: what Taiyi's published instruction mix took from it.
        verified: whether real records of it were parsed here.
        notes: what a user must know: why counts differ, what is left out.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    group: Literal["taiyi", "mix", "further"]
    row: str | None = Field(None, pattern=r"^(en|zh)-[0-9]+$")
    description: str
    language: tuple[Literal["en", "zh"], ...] = Field(min_length=1)
    tasks: tuple[str, ...]
    format: str | None
    format_options: dict[str, JsonValue] = {}
    layouts: tuple[Layout, ...] = ()
    types: Annotated[dict[str, Term | None], _map_of("types")] = {}
    relations: Annotated[dict[str, Term | None], _map_of("relations")] = {}
    roles: Annotated[dict[str, Term | None], _map_of("roles")] = {}
    events: Annotated[dict[str, EventType | None], BeforeValidator(_events)] = {}
    labels: Annotated[dict[str, dict[str, Term | None] | None], BeforeValidator(_labels)] = {}
    task_options: dict[str, dict[str, JsonValue]] = {}
    licence: str | None
    terms: str | None
    agreement: bool | None
    may_train: Annotated[Literal["yes", "no", "unknown", "in_house"], BeforeValidator(_yes_or_no)]
    address: str | None
    paper: str | None
    held_out: Annotated[tuple[Split, ...], BeforeValidator(_one_or_more)] = ()
    pmids: Annotated[bool | str, BeforeValidator(_pattern)] = False
    listed: dict[Split, int] = {}
    mix: tuple[MixShare, ...] = ()
    verified: bool
    notes: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.group == "taiyi") != (self.row is not None):
            raise ValueError("a dataset of the group taiyi has a `row`, and no other has one")
        if self.verified and not self.layouts:
            raise ValueError("a verified entry has layouts")
        if any(not (layout.format or self.format) for layout in self.layouts):
            raise ValueError("the entry or each of its layouts has a format")
        if any(layout.format_options and not layout.format for layout in self.layouts):
            raise ValueError("a layout has `format_options` only with a format of its own")
        for layout in self.layouts:
            for files in layout.splits.values():
                self.format_of(layout, files)
        known = [*TASKS, *TRAINING_ONLY]
        for field, names in (
            ("tasks", self.tasks),
            ("labels", self.labels),
            ("task_options", self.task_options),
        ):
            for name in names:
                if name not in known:
                    raise ValueError(str(unknown(field, "task", name, known)))
        return self

    def format_of(self, layout: Layout, files: SplitFiles) -> Format:
        """The format of the files of a split, with its options.

        Args:
            layout: one of the layouts.
            files: the files of one of its splits.

        Raises:
            ValueError: no format has the name, or an option is wrong; then there is no entry.
        """
        name = layout.format or self.format
        assert name is not None
        options = layout.format_options if layout.format else self.format_options
        try:
            return formats.named(name, {**options, **files.format_options})
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that any layout has, in the usual order."""
        return tuple(s for s in SPLITS if any(s in layout.splits for layout in self.layouts))

    @property
    def formats(self) -> tuple[str, ...]:
        """The names of the formats of its layouts; that of the entry where it has none."""
        named = [layout.format or self.format for layout in self.layouts] or [self.format]
        return tuple(dict.fromkeys(name for name in named if name is not None))

    def pmid_of(self, document_id: str | None) -> str | None:
        """The PubMed identifier of a document; None where it is not known."""
        if document_id is None or isinstance(self.pmids, bool):
            return document_id if self.pmids else None
        found = re.match(self.pmids, document_id)
        return found[1] if found else None

    @property
    def file(self) -> str:
        """The name of its file, for messages."""
        return f"catalogue/rows/{self.name}.yaml"

    def options_of(self, task: str) -> dict[str, Any]:
        """The options of a task with which all gold of this dataset is asked for.

        Types that several names of the dataset are mapped to are there once.
        """
        found: dict[str, Any] = dict(self.task_options.get(task, {}))
        if task == "ner":
            found["types"] = _distinct(self.types.values())
        elif task == "re":
            found["relations"] = _distinct(self.relations.values())
        elif task == "ee":
            found["types"] = _distinct(self.events.values())
        elif task in self.labels and task != "qa":
            found["labels"] = _distinct((self.labels[task] or {}).values())
        return found


def _distinct(terms: Iterable[Term | None]) -> tuple[Term, ...]:
    return tuple(dict.fromkeys(term for term in terms if term is not None))


def read_entries(folder: Traversable) -> dict[str, Entry]:
    """Read the entries of a folder, by name: Taiyi's list in its order, then the others by name.

    Args:
        folder: a folder of YAML files, one an entry.

    Raises:
        ConfigError: a file is no entry; the message names it and all that is wrong with it.
    """
    found: dict[str, Entry] = {}
    rows: dict[str, str] = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".yaml"):
            continue
        made = _entry(file)
        if f"{made.name}.yaml" != file.name:
            raise ConfigError(f"{file.name}: the entry {made.name!r} belongs in {made.name}.yaml")
        if made.row is not None and (other := rows.setdefault(made.row, made.name)) != made.name:
            raise ConfigError(f"{file.name}: the row {made.row} is that of {other!r} already")
        found[made.name] = made
    return dict(sorted(found.items(), key=lambda item: _order(item[1])))


def _entry(file: Traversable) -> Entry:
    values = _yaml(file)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{file.name}: expected the fields of an entry")
    try:
        return Entry(**values)
    except ValidationError as error:
        raise ConfigError(f"{file.name}: {explain(error, Entry)}") from error


def _order(made: Entry) -> tuple[int, str, int, str]:
    language, _, number = (made.row or "-0").partition("-")
    groups = ("taiyi", "mix", "further")
    return (groups.index(made.group), language, int(number), made.name.casefold())


@cache
def _entries() -> dict[str, Entry]:
    return read_entries(resources.files(__package__).joinpath("rows"))


def entries() -> tuple[Entry, ...]:
    """All entries: Taiyi's list in its order, then those of its mix, then the others."""
    return tuple(_entries().values())


def entry(
    name: str, origin: str = "", *, kind: str = "dataset", words: Iterable[str] = ()
) -> Entry:
    """Return the entry of this name.

    Args:
        name: the name.
        origin: the option with what was given to it, for the error.
        kind: what may have such a name, for the error.
        words: the names that are possible besides those of datasets, for the error.

    Raises:
        ConfigError: no dataset has the name; the message has the nearest one.
    """
    if (found := _entries().get(name)) is not None:
        return found
    hint = nearest(name, [*words, *_entries()]) or "; `taiyi-ray datasets` lists them"
    raise ConfigError(f"{origin and f'{origin}: '}no {kind} is called {name!r}{hint}")
