"""Draws: the same on every machine, independent by name, and spread evenly."""

from math import ceil, floor

from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.instruct.draws import Draws, times


def test_a_draw_is_a_function_of_seed_key_and_name() -> None:
    assert Draws(0, ("bc5cdr", "train", 7)).uniform("first") == 0.1568801351431699
    one = Draws(0, ("a", 1)).uniform("x")
    others = [Draws(1, ("a", 1)).uniform("x"), Draws(0, ("a", 2)).uniform("x")]
    assert one not in [*others, Draws(0, ("a", 1)).uniform("y")]


def test_an_order_holds_each_item_once() -> None:
    assert sorted(Draws(3, ("d",)).order("types", "abcdef")) == list("abcdef")
    assert len({tuple(Draws(s, ("d",)).order("types", "abcdef")) for s in range(50)}) > 40


def test_draws_are_spread_evenly() -> None:
    found = [Draws(0, ("d", n)).index("wording", 4) for n in range(4000)]
    assert all(900 < found.count(number) < 1100 for number in range(4))


@given(
    rate=st.floats(0, 5, allow_nan=False),
    start=st.floats(0, 1, exclude_max=True),
    first=st.integers(0, 10**6),
    count=st.integers(1, 300),
)
def test_uses_number_rate_times_records_wherever_one_begins(
    rate: float, start: float, first: int, count: int
) -> None:
    uses = sum(times(position, rate, start) for position in range(first, first + count))
    assert floor(count * rate - 1e-6) <= uses <= ceil(count * rate + 1e-6)
