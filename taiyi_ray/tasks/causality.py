"""Causal relations: what causes what, and under which condition.

A relation may take part in another one: smoking causes cancer *if* it goes on for years (CMedCausal
calls this a conditional relation, whose tail is a causal one). Such a pair of relations is one
statement of three parts. So the results are `events` without triggers, whose arguments are the
cause, the effect and, where there is one, the condition. The answer form is that of events
(events.py):

    en    Causation: (Cause: smoking, Effect: cancer, Condition: for years)
    zh    上述句子中的因果关系事件如下：⏎原因：吸烟；结果：癌症；条件：多年
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from taiyi_ray.names import AROUND_HEADS
from taiyi_ray.tasks import events
from taiyi_ray.tasks.events import EventType
from taiyi_ray.tasks.options import TaskOptions, terms_of
from taiyi_ray.tasks.task import Task
from taiyi_ray.tasks.vocabulary import Term

ROLES = (
    Term("cause", "Cause", "原因"),
    Term("effect", "Effect", "结果"),
    Term("condition", "Condition", "条件"),
)
CAUSATION = EventType("causation", "Causation", "因果关系", ROLES, None)


def _types(value: object) -> tuple[EventType, ...]:
    """Read types as `ee` does; they have no triggers, unless they name them.

    A type whose roles are not given has those of `causation`.
    """
    if isinstance(value, (list, tuple)) and not any(isinstance(v, EventType) for v in value):
        terms = terms_of(value, (CAUSATION,), AROUND_HEADS)
        return tuple(EventType(t.name, t.en, t.zh, ROLES, None) for t in terms)
    if isinstance(value, Mapping):
        value = {
            name: {"trigger": None, **(given if isinstance(given, Mapping) else {"roles": given})}
            for name, given in value.items()
        }
    return events.types_of(value)


class Options(TaskOptions):
    """The kinds of causal relations."""

    types: Annotated[tuple[EventType, ...], BeforeValidator(_types)] = Field(
        (CAUSATION,),
        description="the causal relations to find: names, or for each its roles "
        "(`Prevention: [Cause, Effect]`)",
    )


TASK = Task(
    name="causal",
    version=1,
    summary="causal relations: causes, their effects, and the conditions of both",
    results="`events` without triggers, with their `mentions`",
    template="causal.v1",
    options=Options,
    questions=events.questions,
    read=events.parse,
    target=events.target,
    lost=events.lost,
    score=events.score,
)
