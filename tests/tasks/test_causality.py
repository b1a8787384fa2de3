"""Causal relations: statements of cause, effect and condition."""

from __future__ import annotations

import pytest

from taiyi_ray.errors import ConfigError
from taiyi_ray.records import Annotations, Argument, Event
from taiyi_ray.tasks import TASKS
from tests.samples import asked, chinese, english

CAUSAL = TASKS["causal"]


def test_a_condition_is_a_part_of_the_statement_that_holds_under_it() -> None:
    document = english("Smoking causes cancer if it goes on for years.")
    (question,) = asked("causal").questions(document)
    answer = "Causation: (Cause: Smoking, Effect: cancer, Condition: goes on for years)"
    parsed = CAUSAL.parse(answer, question, document)
    assert parsed.problem is None
    (event,) = parsed.annotations.events
    assert (event.type, event.trigger) == ("causation", None)
    assert [(a.role, a.text) for a in event.arguments] == [
        ("cause", "Smoking"),
        ("effect", "cancer"),
        ("condition", "goes on for years"),
    ]
    assert CAUSAL.target(question, parsed.annotations) == answer


def test_the_chinese_form() -> None:
    document = chinese("长期吸烟可导致肺癌。")
    (question,) = asked("causal").questions(document)
    gold = Annotations(
        events=[
            Event(
                0,
                "causation",
                None,
                [Argument("cause", None, "吸烟"), Argument("effect", None, "肺癌")],
            )
        ]
    )
    answer = "上述句子中的因果关系事件如下：\n原因：吸烟；结果：肺癌；条件："
    assert CAUSAL.target(question, gold) == answer
    assert CAUSAL.lost(question, gold) == {}
    assert CAUSAL.score(CAUSAL.parse(answer, question, document).annotations, gold).tp == 1


def test_types_may_be_named_with_or_without_their_roles() -> None:
    by_name = asked("causal", types=["causation", "prevention"]).options.types
    assert [(t.name, t.trigger, [r.name for r in t.roles]) for t in by_name] == [
        ("causation", None, ["cause", "effect", "condition"]),
        ("prevention", None, ["cause", "effect", "condition"]),
    ]
    assert by_name[:1] == asked("causal").options.types
    (given,) = asked("causal", types={"Prevent": ["Cause", "Effect"]}).options.types
    assert (given.trigger, [r.name for r in given.roles]) == (None, ["Cause", "Effect"])
    with pytest.raises(ConfigError, match="expected roles"):
        asked("causal", types={"Prevent": None})
