"""The options of tasks, and the file that gives them.

A task file is YAML: names of tasks, and the options of each (examples in `examples/tasks/`).

    tc: {labels: [Treatment, Prevention], several: true}
    mt: {to: zh}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from taiyi_ray.config import explain, read_yaml
from taiyi_ray.errors import ConfigError
from taiyi_ray.tasks.vocabulary import Term, terms


class TaskOptions(BaseModel):
    """What a run may choose for a task; the field descriptions are its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wording: int = Field(1, ge=1, description="which wording of the question, counted from 1")

    @classmethod
    def example(cls) -> str:
        """Valid options as YAML, for the error about a missing option."""
        return "{}"

    def hints(self) -> list[str]:
        """Notes about values that are accepted but may be slips of the pen, one a line."""
        return []


LABEL = ";；\n"
"""Characters that a label must not hold, because they separate the items of a list."""
HEAD = LABEL + ":：[]"
"""Characters that a name must not hold when it begins a line or an item of an answer."""


def name_of(value: object, forbidden: str = LABEL) -> str:
    """Return a name if it holds none of the forbidden characters; else raise ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"a name must be text, not {value!r}: put it in quotes")
    if not value.strip() or value != value.strip() or set(value) & set(forbidden):
        signs = " ".join("".join(forbidden.split()))
        raise ValueError(
            f"a name must not be blank nor hold {signs} or a line break, as {value!r} does"
        )
    return value


def term_of(name: object, labels: object, forbidden: str = LABEL) -> Term:
    """Read the term `name: {en: ..., zh: ...}`; the name serves a language that is left out.

    Args:
        name: the name.
        labels: the labels by language, or None.
        forbidden: characters that neither name nor labels may hold.
    """
    if labels is None:
        labels = {}
    if not isinstance(labels, Mapping) or labels.keys() - {"en", "zh"}:
        raise ValueError(f"{name}: expected its labels, as in {{en: treatment, zh: 治疗}}")
    own = name_of(name, forbidden)
    english, chinese = (name_of(labels.get(language, own), forbidden) for language in ("en", "zh"))
    return Term(own, english, chinese)


def terms_of(value: object, known: Sequence[Term] = (), forbidden: str = LABEL) -> tuple[Term, ...]:
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
    names = [v if isinstance(v, Term) else name_of(v, forbidden) for v in value]
    return terms(names, known)


def named(known: Sequence[Term] = (), forbidden: str = LABEL) -> BeforeValidator:
    """A validator that reads terms, at least one (see `terms_of`)."""

    def read(value: object) -> tuple[Term, ...]:
        found = terms_of(value, known, forbidden)
        if not found:
            raise ValueError("expected one name at least")
        return found

    return BeforeValidator(read)


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
    model: type[TaskOptions], task: str, values: Mapping[str, Any], wordings: int, place: str
) -> TaskOptions:
    """Make the options of a task.

    Args:
        model: the class of the options.
        task: the name of the task.
        values: the options by name.
        wordings: the number of wordings that the task has.
        place: where the options come from, for the error.

    Raises:
        ConfigError: an option is unknown, missing or has a wrong value; the message names all.
    """
    try:
        options = model(**values)
    except (ValidationError, TypeError) as error:
        wrong = explain(error, model) if isinstance(error, ValidationError) else str(error)
        missing = isinstance(error, ValidationError) and any(
            e["type"] == "missing" for e in error.errors()
        )
        hint = f"; an example: `{task}: {model.example()}`" if missing else ""
        raise ConfigError(f"{place}: {task}: {wrong}{hint}") from error
    if options.wording > wordings:
        raise ConfigError(f"{place}: {task}: wording {options.wording} of {wordings}")
    return options
