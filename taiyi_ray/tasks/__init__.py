"""The tasks, one module a kind; a line in TASKS makes one appear everywhere.

Each is defined once, as pure functions (see `task.py`), and serves annotation, training,
evaluation and the endpoint in both languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taiyi_ray.config import AskConfig
from taiyi_ray.errors import ConfigError, nearest
from taiyi_ray.records import Document, passages
from taiyi_ray.tasks import (
    answering,
    classification,
    dialogue,
    events,
    ner,
    pairs,
    relations,
    report,
    translation,
    writing,
)
from taiyi_ray.tasks.options import read_file, validated
from taiyi_ray.tasks.task import LANGUAGES, Assignment, NotApplicable, Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        ner.TASK,
        relations.TASK,
        events.TASK,
        classification.TASK,
        answering.TASK,
        translation.TASK,
        writing.TITLE,
        writing.SUMMARY,
        pairs.SIMILARITY_TASK,
        pairs.ENTAILMENT_TASK,
        dialogue.TASK,
        report.TASK,
    )
}


DEFAULT_TASKS = ("ner", "re")


def select(names: Sequence[str]) -> list[Task]:
    """Return the tasks of these names; raises ConfigError for an unknown one."""
    for name in names:
        if name not in TASKS:
            raise ConfigError(
                f"unknown task {name!r}{nearest(name, TASKS)}; known tasks: {', '.join(TASKS)}"
            )
    return [TASKS[name] for name in dict.fromkeys(names)]


def assign(
    names: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    *,
    grammar: bool = True,
    place: str = "--task-file",
) -> list[Assignment]:
    """The tasks of these names as a run asks them; several questions share the document's prefix.

    Args:
        options: of each task, by its name and theirs; those that are left out have defaults.
        grammar: constrain answers to what is in the text.
        place: where the options come from, for the errors.

    Raises:
        ConfigError: a task or an option is unknown, has a wrong value or is missing.
    """
    found = [
        Assignment(
            task,
            validated(task.options, task.name, options.get(task.name, {}), task.wordings, place),
            grammar,
        )
        for task in select(names)
    ]
    # Asked about any text at all, they are as many as about each document in one language.
    anything = [Document("", passages([("text", language, "any")])) for language in LANGUAGES]
    most = max(sum(_questions(assignment, any_) for assignment in found) for any_ in anything)
    return [replace(assignment, document_first=most > 1) for assignment in found]


def assigned(
    config: AskConfig, more: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[list[Assignment], list[str]]:
    """The tasks as a configuration asks them, and notes on what it may not mean as it says it.

    `--tasks` chooses among the tasks of the task file, or adds to them; `--types`, `--relations`
    and `--ask` win over what the file says.

    Args:
        more: options by task; they win over what the file says.

    Raises:
        ConfigError: a task or an option is unknown, has a wrong value or is missing.
    """
    given = read_file(config.task_file) if config.task_file else {}
    for name, options in (more or {}).items():
        given[name] = {**given.get(name, {}), **options}
    select(list(given))  # an unknown name is a slip even where --tasks leaves it out
    names = config.tasks or list(given) or DEFAULT_TASKS
    place = f"--task-file {config.task_file}" if config.task_file else "options (--task-file)"
    asked = with_shortcuts(names, given, config.types, config.relations, config.ask)
    assignments = assign(names, asked, grammar=config.grounding == "grammar", place=place)
    notes = [hint for assignment in assignments for hint in assignment.options.hints()]
    unused = [name for name in given if name not in names]
    if unused:
        notes.append(f"{config.task_file or 'options'}: --tasks leaves out {', '.join(unused)}")
    return assignments, notes


def with_shortcuts(
    names: Sequence[str],
    given: Mapping[str, Mapping[str, Any]],
    types: Sequence[str] | None,
    relations: Sequence[str] | None,
    ask: str | None,
) -> dict[str, dict[str, Any]]:
    """The options of these tasks: `types`, `relations` and `ask` win over those given by task."""
    shortcuts: dict[str, dict[str, Any]] = {
        "ner": {"types": types, "ask": ask},
        "re": {"relations": relations},
    }
    return {
        name: {**given.get(name, {})}
        | {k: v for k, v in shortcuts.get(name, {}).items() if v is not None}
        for name in names
    }


def _questions(assignment: Assignment, document: Document) -> int:
    try:
        return len(assignment.questions(document))
    except NotApplicable:
        return 0
