"""JSON as records hold it: strict, and of a depth that every reader of it can follow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

DEEPEST: Final = 100
"""Objects and lists inside one another. Python's own limit depends on who calls: this one does not,
so a record is as good or bad to the planner as to the reader."""


def loads(text: str) -> Any:
    """Read a JSON value.

    Raises:
        ValueError: it is not JSON, holds NaN or a number that has too many digits, or is nested
            more than DEEPEST deep.
    """
    too_deep = f"nested more than {DEEPEST} deep"
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(too_deep) from None
    if text.count("[") + text.count("{") > DEEPEST and _is_too_deep(value):
        raise ValueError(too_deep)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _is_too_deep(value: object) -> bool:
    level = _containers([value])
    for _ in range(DEEPEST):
        level = _containers(
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        )
    return bool(level)


def _containers(values: Iterable[object]) -> list[dict[str, Any] | list[Any]]:
    return [value for value in values if isinstance(value, dict | list)]
