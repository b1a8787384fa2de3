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
    acts,
    answering,
    causality,
    chat,
    classification,
    coreference,
    decision_tree,
    dialogue,
    events,
    ner,
    normalisation,
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
        normalisation.TASK,
        coreference.TASK,
        acts.TASK,
        causality.TASK,
        decision_tree.TASK,
    )
}

TRAINING_ONLY: dict[str, Task] = {chat.TASK.name: chat.TASK}
"""Tasks that there is training data for, and that nobody is asked to do."""


DEFAULT_TASKS = ("ner", "re")


def select(names: Sequence[str], *, training: bool = False) -> list[Task]:
    """Return the tasks of these names.

    Args:
        names: the names.
        training: whether the tasks of TRAINING_ONLY may be among them.

    Raises:
        ConfigError: a task is unknown, or is for training only.
    """
    known = TASKS | TRAINING_ONLY if training else TASKS
    for name in names:
        if name in TRAINING_ONLY and not training:
            raise ConfigError(f"the task {name!r} is for training data only")
        if name not in known:
            raise ConfigError(
                f"unknown task {name!r}{nearest(name, TASKS)}; known tasks: {', '.join(TASKS)}"
            )
    return [known[name] for name in dict.fromkeys(names)]


def assign(
    names: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    *,
    grammar: bool = True,
    origin: str = "--task-file",
    files: bool = False,
    training: bool = False,
) -> list[Assignment]:
    """The tasks of these names as a run asks them.

    When there is more than one question on a document, all put the document first, so that they
    share it in the engine's prefix cache.

    Args:
        names: the names of the tasks.
        options: the options of each task, by task and option; options left out have defaults.
        grammar: whether answers are constrained to what is in the text.
        origin: where the options come from, for error messages.
        files: whether an option may name a file. Whoever asks a service may not read its files.
        training: whether the tasks of TRAINING_ONLY may be among them.

    Raises:
        ConfigError: a task or an option is unknown, has a wrong value or is missing.
    """
    assignments = [
        Assignment(
            task,
            validated(
                task.options,
                task.name,
                options.get(task.name, {}),
                wordings=task.wordings,
                origin=origin,
                files=files,
            ),
            grammar,
        )
        for task in select(names, training=training)
    ]
    # The questions on this short text are as many as those on one window of any document in one
    # language, unless a task asks about what it finds in the document.
    anything = [Document("", passages([("text", language, "any")])) for language in LANGUAGES]
    most = max(sum(_questions(assignment, any_) for assignment in assignments) for any_ in anything)
    shared = most > 1 or any(assignment.task.asks for assignment in assignments)
    return [replace(assignment, document_first=shared) for assignment in assignments]


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
    grammar = config.grounding == "grammar"
    assignments = assign(names, asked, grammar=grammar, origin=origin, files=True)
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
