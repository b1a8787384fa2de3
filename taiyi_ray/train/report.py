"""The report of a training run: its curves as a page, and as files for TensorBoard.

Both are made of the points of the curves alone, so that they are the same after any interruption.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from taiyi_ray import storage

Curve = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 640, 180


def html(record: Mapping[str, Any]) -> str:
    """Return the report as a page without scripts.

    Args:
        record: the content of run.json.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True
    )
    return environment.get_template("report.html.jinja").render(
        record=record, charts=list(_charts(record["points"])), width=_WIDTH, height=_HEIGHT
    )


def _charts(points: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """For each curve its title, its ends, and its lines in the coordinates of the picture.

    A curve has a line for each stage, and the places where a stage begins.
    """
    stage_of = {point["step"]: point["stage"] for point in points}
    curves = scalars(points)
    for title, curve in curves.items():
        values = [value for _, value in curve]
        low, high = min(0.0, *values), max(values)
        first, last = curve[0][0], curve[-1][0]
        lines: dict[int, list[tuple[float, float]]] = {}
        for step, value in curve:
            x = _WIDTH * (step - first) / ((last - first) or 1)
            y = _HEIGHT * (1 - (value - low) / ((high - low) or 1))
            lines.setdefault(stage_of[step], []).append((x, y))
        yield {"title": title, "low": low, "high": high, "last": values[-1], "lines": lines,
               "first_step": first, "last_step": last}  # fmt: skip


def scalars(points: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Return the curves of a run by name; each is a list of step and value."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        for name, value in _values(point).items():
            curves.setdefault(name, []).append((point["step"], value))
    return {name: curves[name] for name in sorted(curves, key=lambda name: (name != "loss", name))}


def _values(point: Mapping[str, Any]) -> dict[str, float]:
    """What a point says, by the names of the curves."""
    values = {
        "loss": point["loss"],
        "learning rate": point["rate"],
        "norm of the gradients": point["norm"],
        "tokens/s": point["tokens"] / (point["seconds"] or 1),
        "packing efficiency": point["computed"] / point["room"],
        "tokens saved by sharing": 1 - point["computed"] / point["tokens"],
        **{f"loss by task/{name}": loss for name, loss in point["by_task"].items()},
        **{f"loss by dataset/{name}": loss for name, loss in point["by_dataset"].items()},
    }
    if mfu := point.get("mfu"):
        values["MFU"] = mfu
    if dev := point.get("dev"):
        values["dev/loss"] = dev["all"]["loss"]
        values |= {f"dev/loss by task/{name}": loss for name, loss in dev["by_task"].items()}
    return values


_EVENTS = "events.out.tfevents.{:09d}.taiyi_ray"
"""The name of a file for TensorBoard; the number is the last step that it holds."""


def add_events(folder: str, points: Sequence[Mapping[str, Any]], until: int) -> int:
    """Write the points behind a step as one more file for TensorBoard.

    TensorBoard reads a file on from where it was, and then the next: what it has read must not
    change.

    Args:
        folder: the address of the folder of these files.
        points: the curves.
        until: the step up to which the files that are there hold the curves.

    Returns:
        The step up to which they hold them now.
    """
    new = [point for point in points if point["step"] > until]
    if not new:
        return until
    last = int(new[-1]["step"])
    storage.replace(storage.join(folder, _EVENTS.format(last)), _events(new))
    return last


def events_until(folder: str, step: int) -> int:
    """Remove the files for TensorBoard with steps that will be made again.

    Args:
        folder: the address of the folder of these files.
        step: the step at which a run goes on.

    Returns:
        The step up to which the other files hold the curves.
    """
    kept = 0
    for file in storage.walk(folder):
        named = re.search(r"tfevents\.(\d{9})\.taiyi_ray$", file.path)
        last = int(named[1]) if named else None
        if last is None or last > step:
            storage.remove(file.path)
        else:
            kept = max(kept, last)
    return kept


def _events(points: Sequence[Mapping[str, Any]]) -> bytes:
    from tensorboardX import SummaryWriter

    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            for point in points:
                for name, value in _values(point).items():
                    writer.add_scalar(name, value, point["step"])
        (events,) = Path(folder).iterdir()
        return events.read_bytes()
