"""The options of tasks, and the file that gives them.

A task file is YAML: names of tasks, and the options of each (examples in `examples/tasks/`).

    tc: {labels: [Treatment, Prevention], multi_label: true}
    mt: {to: zh}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from taiyi_ray.config import explain, read_yaml
from taiyi_ray.errors import ConfigError, MissingOption
from taiyi_ray.names import BETWEEN_ITEMS, checked_name
from taiyi_ray.tasks.vocabulary import LANGUAGES, Language, Term, terms

FILES = "files"
"""The key in pydantic's validation context that says whether an option may name a file here."""


def later(default: Any, description: str) -> Any:
    """Return the field of an option that a task gets when outputs exist already.

    At its default the option is in no identity. So an output that was begun without it goes on, and
    the default must be what was done before.

    Args:
        default: the default.
        description: what the option does.
    """
    return Field(default, exclude_if=lambda value: bool(value == default), description=description)


class TaskOptions(BaseModel):
    """What a run may choose for a task; the field descriptions are its documentation.

    The fields that stand here are those of every task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    older_names: ClassVar[Mapping[str, str]] = {}
    """The names that options had in earlier releases, each with the name that it has now. Task
    files may still use them, and identities still do, so that fingerprints stay as they are."""

    wording: int = Field(1, ge=1, description="the number of the wording of the question, from 1")
    languages: Annotated[tuple[Language, ...], Field(min_length=1)] = later(
        tuple(LANGUAGES), "the languages that a text is asked about in, by their codes"
    )

    @classmethod
    def example(cls) -> str:
        """Valid options as YAML, for the error about a missing option."""
        return "{}"

    def identity(self) -> dict[str, Any]:
        """The options that can change an answer, under the names that each had first.

        One that is `later` is left out at its default.
        """
        first = {now: older for older, now in self.older_names.items()}
        values = self.model_dump(mode="json", exclude={"wording"})
        return {first.get(name, name): value for name, value in values.items()}

    def hints(self) -> list[str]:
        """Notes about values that are accepted but may be slips of the pen, one a line."""
        return []


def term_of(name: object, labels: object, forbidden: str = BETWEEN_ITEMS) -> Term:
    """Read the term `name: {en: ..., zh: ...}`; the name serves a language that is left out.

    Args:
        name: the name.
        labels: the labels by language, or None.
        forbidden: characters that neither name nor labels may hold.
    """
    if labels is None:
        labels = {}
    if not isinstance(labels, Mapping) or labels.keys() - LANGUAGES.keys():
        raise ValueError(f"{name}: expected its labels, as in {{en: treatment, zh: 治疗}}")
    own = checked_name(name, forbidden)
    names = {lang: checked_name(labels.get(lang, own), forbidden) for lang in LANGUAGES}
    return Term(own, **names)


def terms_of(
    value: object, known: Sequence[Term] = (), forbidden: str = BETWEEN_ITEMS
) -> tuple[Term, ...]:
    """Read terms from a list of names, or from names with their labels.

    Args:
        value: the list, in which a known term may stand by any of its labels, or the mapping.
        known: the known terms.
        forbidden: characters that neither names nor labels may hold.
    """
    if isinstance(value, Mapping):
        return tuple(term_of(name, labels, forbidden) for name, labels in value.items())
    if not isinstance(value, (list, tuple)):
        raise ValueError("expected a list of names")
    names = [v if isinstance(v, Term) else checked_name(v, forbidden) for v in value]
    return terms(names, known)


def named(known: Sequence[Term] = (), forbidden: str = BETWEEN_ITEMS) -> BeforeValidator:
    """A validator that reads terms, at least one (see `terms_of`)."""

    def validate(value: object) -> tuple[Term, ...]:
        read = terms_of(value, known, forbidden)
        if not read:
            raise ValueError("expected one name at least")
        return read

    return BeforeValidator(validate)


def read_file(path: str) -> dict[str, Any]:
    """Read a task file: the options of each task, by the name of the task.

    Raises:
        ConfigError: the file cannot be read, or is no task file.
    """
    loaded = read_yaml("--task-file", path)
    if not isinstance(loaded, dict) or not loaded:
        raise ConfigError(
            f"--task-file {path}: expected tasks and their options, as in `mt: {{to: zh}}`"
        )
    for name, options in loaded.items():
        if not isinstance(name, str) or not isinstance(options, (dict, type(None))):
            raise ConfigError(f"--task-file {path}: {name}: expected options, as in {{wording: 1}}")
    return {name: options or {} for name, options in loaded.items()}


def validated(
    model: type[TaskOptions],
    task: str,
    values: Mapping[str, Any],
    *,
    wordings: int,
    origin: str,
    files: bool,
) -> TaskOptions:
    """Make the options of a task.

    Args:
        model: the class of the options.
        task: the name of the task.
        values: the options by name; they may have names of earlier releases.
        wordings: the number of wordings that the task has.
        origin: where the options come from, for the error.
        files: whether an option may name a file, which is read here.

    Raises:
        MissingOption: options are missing, and nothing else is wrong.
        ConfigError: an option is unknown or has a wrong value; the message names all.
    """
    try:
        options = model.model_validate(_with_new_names(model, values), context={FILES: files})
    except (ValidationError, TypeError) as error:
        wrong = explain(error, model) if isinstance(error, ValidationError) else str(error)
        kinds = {e["type"] for e in error.errors()} if isinstance(error, ValidationError) else set()
        hint = f"; an example: `{task}: {model.example()}`" if "missing" in kinds else ""
        kind = MissingOption if kinds == {"missing"} else ConfigError
        raise kind(f"{origin}: {task}: {wrong}{hint}") from error
    if options.wording > wordings:
        raise ConfigError(
            f"{origin}: {task}: there is no wording {options.wording}; choose from 1 to {wordings}"
        )
    return options


def renamed(model: type[TaskOptions], values: Mapping[str, Any]) -> dict[str, str]:
    """The options that are given under names of earlier releases, each with its name of now.

    An option that is given under both names is not among them: its older name is an error.
    """
    return {
        older: now
        for older, now in model.older_names.items()
        if older in values and now not in values
    }


def _with_new_names(model: type[TaskOptions], values: Mapping[str, Any]) -> dict[str, Any]:
    names = renamed(model, values)
    return {names.get(name, name): value for name, value in values.items()}
