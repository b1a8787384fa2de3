"""Names of types, labels and sections: no sign in them that answers consist of."""

from __future__ import annotations

import pytest

from taiyi_ray.names import AROUND_HEADS, BETWEEN_ITEMS, checked_name


@pytest.mark.parametrize(
    "name", ["gene or protein", "药物", "chemical-induced disease", "β", "a,b"]
)
@pytest.mark.parametrize("forbidden", [BETWEEN_ITEMS, AROUND_HEADS])
def test_a_usual_name_is_returned_as_it_is(name: str, forbidden: str) -> None:
    assert checked_name(name, forbidden) == name


@pytest.mark.parametrize("name", ["Risk: high", "风险：高", "[3H]x"])
def test_a_label_may_hold_what_a_head_must_not_hold(name: str) -> None:
    assert checked_name(name) == name
    with pytest.raises(ValueError, match=r"nor hold ; ； : ： \[ \] or a line break, as "):
        checked_name(name, AROUND_HEADS)


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a;b", "a；b", "a\nb"])
def test_no_name_is_blank_or_holds_what_separates_items(name: str) -> None:
    with pytest.raises(ValueError, match="must not be blank nor hold ; ； or a line break"):
        checked_name(name)


@pytest.mark.parametrize("name", [1, True, None, ["a"]])
def test_a_name_is_text(name: object) -> None:
    with pytest.raises(ValueError, match="must be text"):
        checked_name(name)
