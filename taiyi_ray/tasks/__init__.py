"""The tasks, one module each; a line in TASKS makes one appear everywhere.

Each is defined once, as pure functions (see `task.py`), and serves annotation, training,
evaluation and the endpoint in both languages.
"""

from __future__ import annotations

from collections.abc import Sequence

from taiyi_ray.errors import ConfigError, nearest
from taiyi_ray.tasks import ner, relations
from taiyi_ray.tasks.task import Task

TASKS: dict[str, Task] = {task.name: task for task in (ner.TASK, relations.TASK)}


def select(names: Sequence[str]) -> list[Task]:
    """Return the tasks of these names; raises ConfigError for an unknown one."""
    for name in names:
        if name not in TASKS:
            raise ConfigError(
                f"unknown task {name!r}{nearest(name, TASKS)}; known tasks: {', '.join(TASKS)}"
            )
    return [TASKS[name] for name in dict.fromkeys(names)]
