"""The order of records: every record once an epoch, and the same order everywhere."""

import numpy as np
import pytest

from taiyi_ray.train.order import Order, permutation


def order(groups: list[int], *, batch: int = 4, seed: int = 1, stage: int = 0) -> Order:
    borders = np.concatenate([[0], np.cumsum(groups)])
    return Order(np.arange(borders[-1]), borders, batch, seed, stage)


def test_every_record_comes_once_an_epoch_and_groups_stay_together() -> None:
    groups = [3, 1, 2, 5, 1, 3]
    made = order(groups)
    assert made.steps_of_an_epoch == 4
    steps = [made.step(number).tolist() for number in range(8)]
    assert [len(step) for step in steps] == [4, 4, 4, 3] * 2
    first, second = ([n for step in part for n in step] for part in (steps[:4], steps[4:]))
    assert sorted(first) == sorted(second) == list(range(15))
    assert first != second
    for start, size in zip(np.cumsum([0, *groups]), groups, strict=False):
        at = first.index(start)
        assert first[at : at + size] == list(range(start, start + size))


def test_a_step_does_not_depend_on_the_steps_before() -> None:
    one, other = order([2] * 20), order([2] * 20)
    for number in range(25):
        one.step(number)
    assert one.step(17).tolist() == other.step(17).tolist()


@pytest.mark.parametrize("change", [{"seed": 2}, {"stage": 1}])
def test_another_seed_or_stage_is_another_order(change: dict[str, int]) -> None:
    assert order([1] * 50, **change).epoch(0).tolist() != order([1] * 50).epoch(0).tolist()


def test_the_order_is_the_same_in_all_versions() -> None:
    assert permutation(8, 7, 1, 2).tolist() == [0, 5, 4, 6, 3, 7, 1, 2]
