"""Ends a job early: by a signal, or by a watchdog when no unit was committed for too long."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM (`ray job stop`, a node's shutdown) end the job as Ctrl-C does.

    The handler of Ctrl-C is set as well, because a shell that starts the job in the background sets
    it to be ignored. Enter this after Ray was started: Ray sets a handler of SIGTERM too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    ours = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, interrupt) for number in ours]
    try:
        yield
    finally:
        for number, handler in zip(ours, before, strict=True):
            signal.signal(number, handler)


class Watchdog:
    """Raises KeyboardInterrupt in the main thread when `feed` was not called for so many minutes.

    Args:
        minutes: how long.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = minutes * 60
        self._timer: threading.Timer | None = None
        self.barked = False

    def feed(self) -> None:
        """Start the time anew."""
        self.stop()
        self._timer = threading.Timer(self._seconds, self._bark)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Stop waiting; nothing is interrupted any more."""
        if self._timer:
            self._timer.cancel()

    def _bark(self) -> None:
        self.barked = True
        _thread.interrupt_main()
