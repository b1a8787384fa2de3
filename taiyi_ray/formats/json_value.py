"""JSON values in records: strict JSON, no deeper than every part of the program can read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final

DEEPEST: Final = 100
"""The most objects and lists inside one another. Python's own limit depends on the depth of the
call stack; this one is fixed, so that planner and reader refuse the same records."""


_TOO_DEEP: Final = f"nested more than {DEEPEST} deep"


def loads(text: str) -> Any:
    """Read a JSON value.

    Raises:
        ValueError: it is not JSON, holds NaN or a number that has too many digits, or is nested
            more than DEEPEST deep.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if text.count("[") + text.count("{") > DEEPEST and _is_too_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def size(value: object) -> int:
    """Check that `loads` could return this value; return the fewest bytes that it takes as JSON.

    Raises:
        ValueError: JSON has no such value, or it is nested more than DEEPEST deep.
    """
    total, level = 0, [value]
    for depth in range(DEEPEST + 1):
        inner: list[object] = []
        for one in level:
            if isinstance(one, str):
                total += len(one.encode()) + 3  # two quotes, and a sign before the next value
                continue
            total += 2
            if isinstance(one, dict | list):
                if depth == DEEPEST:
                    raise ValueError(_TOO_DEEP)
                inner += [*_keys(one), *one.values()] if isinstance(one, dict) else one
            elif isinstance(one, float):
                if not math.isfinite(one):
                    _no_constant(str(one))
            elif isinstance(one, int):
                str(one)  # raises if it has too many digits
            elif one is not None:
                raise ValueError(f"JSON has no values of the type {type(one).__name__}")
        level = inner
    return total


def _keys(value: dict[Any, Any]) -> Iterable[str]:
    if wrong := [key for key in value if not isinstance(key, str)]:
        raise ValueError(f"the key {wrong[0]!r} is no string")
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
