"""The tasks, one module for each kind; an entry in TASKS makes a task known everywhere.

A task is defined once, as pure functions (see `task.py`). Annotation, training, evaluation and the
endpoint use it in both languages.
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
from taiyi_ray.tasks.options import read_file, renamed, validated
from taiyi_ray.tasks.task import Assignment, NotApplicable, Task
from taiyi_ray.tasks.vocabulary import LANGUAGES

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
    origin: str = "--task-file",
) -> list[Assignment]:
    """The tasks of these names as a run asks them.

    When there is more than one question on a document, all put the document first, so that they
    share it in the engine's prefix cache.

    Args:
        names: the names of the tasks.
        options: the options of each task, by task and option; options left out have defaults.
        grammar: whether answers are constrained to what is in the text.
        origin: where the options come from, for error messages.

    Raises:
        ConfigError: a task or an option is unknown, has a wrong value or is missing.
    """
    assignments = [
        Assignment(
            task,
            validated(task.options, task.name, options.get(task.name, {}), task.wordings, origin),
            grammar,
        )
        for task in select(names)
    ]
    # The questions on this short text are as many as those on one window of any document in one
    # language.
    anything = [Document("", passages([("text", language, "any")])) for language in LANGUAGES]
    most = max(sum(_questions(assignment, any_) for assignment in assignments) for any_ in anything)
    return [replace(assignment, document_first=most > 1) for assignment in assignments]


def assigned(
    config: AskConfig, more: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[list[Assignment], list[str]]:
    """The tasks as a configuration asks them, and notes for the user about possible slips.

    `--tasks` decides which tasks run; without it, all tasks of the task file do. `--types`,
    `--relations` and `--ask` replace what the file says.

    Args:
        config: the settings.
        more: options by task and option; they replace what the file says.

    Raises:
        ConfigError: a task or an option is unknown, has a wrong value or is missing.
    """
    given = read_file(config.task_file) if config.task_file else {}
    for name, options in (more or {}).items():
        given[name] = {**given.get(name, {}), **options}
    select(list(given))  # an unknown task is an error even when --tasks leaves it out
    names = config.tasks or list(given) or DEFAULT_TASKS
    origin = f"--task-file {config.task_file}" if config.task_file else "options (--task-file)"
    asked = with_shortcuts(names, given, config.types, config.relations, config.ask)
    assignments = assign(names, asked, grammar=config.grounding == "grammar", origin=origin)
    notes = [hint for assignment in assignments for hint in assignment.options.hints()]
    notes += [
        f"{origin}: {task.name}: the option {older!r} is called {now!r} now"
        for task in select(names)
        for older, now in renamed(task.options, asked[task.name]).items()
    ]
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
    """The options of these tasks, where those of the command line replace those given.

    Args:
        names: the names of the tasks.
        given: options by task and option.
        types: the mention types of `ner`, if they are given.
        relations: the relation types of `re`, if they are given.
        ask: the option `ask` of `ner`, if it is given.
    """
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
