"""Slots: so many at once, the rest is told to come again."""

from __future__ import annotations

import pytest

from taiyi_ray.serve.admission import Admission
from taiyi_ray.serve.problems import Problem


def test_what_does_not_fit_is_refused_and_takes_nothing():
    admission = Admission(4)
    with admission.take(3):
        with (
            pytest.raises(Problem, match="3 of 4 slots are taken") as problem,
            admission.take(2),
        ):
            pass
        assert problem.value.status_code == 503
        assert int(problem.value.headers["retry-after"]) >= 1
        assert admission.taken == 3
        with admission.take(1):
            assert admission.taken == 4
    assert admission.taken == 0


def test_slots_are_free_again_after_an_error():
    admission = Admission(2)
    with pytest.raises(KeyError), admission.take(2):
        raise KeyError
    assert admission.taken == 0


def test_more_than_there_are_is_let_in_alone():
    admission = Admission(2)
    with admission.take(5), pytest.raises(Problem), admission.take(1):
        pass
    assert admission.taken == 0
