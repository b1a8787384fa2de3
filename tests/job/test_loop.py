"""The loop: for which reason a job ends with units left, and what it tells of them."""

from __future__ import annotations

import pytest

from taiyi_ray.errors import ConfigError, ServerGone, Unfinished
from taiyi_ray.job.loop import _end
from taiyi_ray.job.receipt import Fault, Receipt


def receipt(fault: Fault) -> Receipt:
    return Receipt("s/0-1", "host:7", 0.0, 1.0, fault, f"because {fault}")


@pytest.mark.parametrize(
    ("faults", "kind", "why"),
    [
        ([], Unfinished, "two attempts in a row committed nothing"),
        ([Fault.BROKEN], Unfinished, "because broken"),
        ([Fault.NO_ENGINE, Fault.STORE_GONE], Unfinished, "because no_engine"),
        ([Fault.SERVER_GONE, Fault.BROKEN], ServerGone, "because server_gone"),
        ([Fault.SERVER_GONE, Fault.UNREADABLE], ConfigError, "because unreadable"),
        ([Fault.BROKEN, Fault.ENGINE_REFUSED], ConfigError, "because engine_refused"),
    ],
)
def test_what_the_user_must_change_is_told_before_what_can_wait(faults, kind, why):
    error = _end(3, [receipt(fault) for fault in faults])
    assert type(error) is kind
    assert str(error) == f"3 units are left: {why}"


def test_what_can_wait_has_one_exit_code():
    codes = {_end(1, [receipt(f)]).exit_code for f in (Fault.SERVER_GONE, Fault.STORE_GONE)}
    assert codes == {Unfinished.exit_code}
