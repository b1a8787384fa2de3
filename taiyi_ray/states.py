"""The state of a run as people read it, told by its last words and by how old they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal, Protocol, TypeVar

from taiyi_ray.errors import StorageError

BEAT = 30.0
"""Seconds between two times at which a run writes that it works, and how far it is."""

SILENT = 4 * BEAT
"""Seconds after which a run that wrote nothing counts as dead. It is more than BEAT, because a
write may fail and the clocks of machines differ."""

State = Literal["absent", "planned", "running", "died", "unfinished", "complete"]

MEANING: dict[State, str] = {
    "absent": "nothing is there yet",
    "planned": "planned; nothing is done yet",
    "running": "running",
    "died": "died without a message; the same command goes on",
    "unfinished": "ended unfinished; the same command goes on",
    "complete": "complete",
}


class Look(Protocol):
    """What a look at an output showed."""

    @property
    def state(self) -> State:
        """The state of the output."""
        ...


Looked = TypeVar("Looked", bound=Look)


def watch(look: Callable[[], Looked], every: float) -> Iterator[Looked]:
    """Yield what a look shows every so many seconds, until it shows a complete output."""
    while True:
        shown = look()
        yield shown
        if shown.state == "complete":
            return
        time.sleep(every)


@contextmanager
def beating(write: Callable[[], None]) -> Iterator[None]:
    """Write now and every BEAT seconds, in a thread of its own, until the block ends.

    Args:
        write: writes that the run works; when a store fails, the next beat tries again.
    """
    over = threading.Event()

    def beat() -> None:
        while True:
            with suppress(StorageError):
                write()
            if over.wait(BEAT):
                return

    thread = threading.Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(BEAT)


def duration(seconds: float) -> str:
    """Write a duration in at most two units of time: `3 d 4 h`, `12 min`, `40 s`."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{hours} h" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def time_left(seconds: float) -> str:
    """Write how long a run still takes, and when it ends by the clock of this machine."""
    end = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + seconds))
    return f"{duration(seconds)}, until {end}"
