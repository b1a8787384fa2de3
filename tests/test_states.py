"""States of runs, and how durations are written."""

import pytest

from taiyi_ray.states import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (8, "8 s"),
        (89, "89 s"),
        (100, "2 min"),
        (7000, "117 min"),
        (7300, "2 h"),
        (280000, "3 d 6 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
