"""What the names of types, labels and sections must not hold: the signs that answers consist of."""

from __future__ import annotations

BETWEEN_ITEMS = ";；\n"
"""Signs that separate the items of an answer. No name may hold one."""
AROUND_HEADS = BETWEEN_ITEMS + ":：[]"
"""Signs that a name must not hold, either, when a line or an item of an answer begins with it."""


def checked_name(name: object, forbidden: str = BETWEEN_ITEMS) -> str:
    """Return a name if it holds none of the forbidden signs; else raise ValueError.

    Args:
        name: the name; it must be a text without blanks at its ends.
        forbidden: the signs that it must not hold.
    """
    if not isinstance(name, str):
        raise ValueError(f"a name must be text, not {name!r}: put it in quotes")
    if not name.strip() or name != name.strip() or set(name) & set(forbidden):
        signs = " ".join("".join(forbidden.split()))
        raise ValueError(
            f"a name must not be blank nor hold {signs} or a line break, as {name!r} does"
        )
    return name
