"""The pace, in a loop whose time is only counted: a server that refuses, and one that queues."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from taiyi_ray.engine.pace import Pace


class _NoWaiting(selectors.DefaultSelector):
    """Where a loop would wait, its clock is set forward."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return super().select(0)


@pytest.fixture
def run() -> Iterator[Callable[[Awaitable[Any]], Any]]:
    """Runs a coroutine in a loop of counted time."""
    selector = _NoWaiting()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    yield loop.run_until_complete
    loop.close()


async def work(pace: Pace, answer: Callable[[], Awaitable[bool]], number: int) -> list[int]:
    """Send so many requests as fast as the pace lets them; return the limits that it had."""
    limits: list[int] = []

    async def one() -> None:
        refused = True
        while refused:
            async with pace.slot() as slot:
                refused = slot.refused = not await answer()
            limits.append(pace.limit)
        pace.worked(100)

    await asyncio.gather(*(one() for _ in range(number)))
    return limits


def refusing(room: int) -> Callable[[], Awaitable[bool]]:
    """A server that refuses what is beyond its room."""
    inside = 0
    draw = random.Random(1)

    async def answer() -> bool:
        nonlocal inside
        if inside >= room:
            return False
        inside += 1
        await asyncio.sleep(draw.uniform(0.5, 1.5))
        inside -= 1
        return True

    return answer


def queueing(room: int) -> Callable[[], Awaitable[bool]]:
    """A server that takes everything and works on so many at once."""
    free = asyncio.Semaphore(room)
    draw = random.Random(1)

    async def answer() -> bool:
        async with free:
            await asyncio.sleep(draw.uniform(0.5, 1.5))
        return True

    return answer


@pytest.mark.parametrize("room", [1, 5, 40, 150])
def test_it_settles_near_what_a_server_takes_before_it_refuses(run, room):
    limits = run(work(Pace(256), refusing(room), 20_000))
    settled = limits[len(limits) // 2 :]
    assert 0.75 * room - 1 <= sum(settled) / len(settled) <= room + 1
    assert max(settled) <= room + 1


@pytest.mark.parametrize("room", [16, 64, 100])
def test_it_stops_to_rise_when_more_in_flight_gain_nothing(run, room):
    limits = run(work(Pace(1000), queueing(room), 15_000))
    settled = sorted(limits[len(limits) // 2 :])
    assert room * 0.8 <= settled[len(settled) // 2] <= 2 * room


def test_it_rises_to_the_ceiling_while_the_server_gains(run):
    assert run(work(Pace(100), queueing(1000), 5000))[-1] == 100


@pytest.mark.parametrize("most", [1, 7])
def test_no_more_than_the_ceiling_are_in_flight(run, most):
    inside, seen = 0, []

    async def answer() -> bool:
        nonlocal inside
        inside += 1
        seen.append(inside)
        await asyncio.sleep(1)
        inside -= 1
        return True

    run(work(Pace(most), answer, 200))
    assert max(seen) == most


def test_a_burst_of_refusals_counts_once(run):
    refusals = iter([False] * 16)

    async def answer() -> bool:
        await asyncio.sleep(1)
        return next(refusals, True)

    assert min(run(work(Pace(256), answer, 32))) == 12


def test_below_the_limit_it_learns_nothing(run):
    async def one_by_one() -> int:
        pace = Pace(256)
        for _ in range(500):
            async with pace.slot():
                await asyncio.sleep(1)
            pace.worked(100)
        return pace.limit

    assert run(one_by_one()) == 16


def test_who_gives_up_waiting_takes_no_place(run):
    async def give_up() -> int:
        pace = Pace(1)
        async with pace.slot():
            waiting = [asyncio.ensure_future(work(pace, refusing(1), 1)) for _ in range(3)]
            await asyncio.sleep(1)
            waiting[0].cancel()
        return len(await asyncio.gather(*waiting[1:]))

    assert run(give_up()) == 2
