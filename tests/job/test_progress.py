"""The table at the end of a run says what a person should know."""

from __future__ import annotations

from rich.console import Console

from taiyi_ray.corpus.output import Totals
from taiyi_ray.job.progress import summary


def test_answers_that_could_not_be_read_are_told_at_the_end_of_a_run():
    console = Console(width=200)
    for unreadable, told in ((0, False), (1, True)):
        run = {"unreadable_answers": unreadable, "documents": 0}
        with console.capture() as captured:
            console.print(summary(Totals(), run))
        assert ("asked again  1 document, answered earlier in" in captured.get()) == told
