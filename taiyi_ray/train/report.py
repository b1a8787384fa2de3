"""The report of a training run: its curves as a page, and as a file for TensorBoard.

Both are made of the points of run.json alone, so that they are the same after any interruption.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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
    """For each curve its title, its ends, and its line in the coordinates of the picture."""
    curves = scalars(points)
    for title, curve in curves.items():
        values = [value for _, value in curve]
        low, high = min(0.0, *values), max(values)
        first, last = curve[0][0], curve[-1][0]
        line = " ".join(
            f"{_WIDTH * (step - first) / ((last - first) or 1):.1f},"
            f"{_HEIGHT * (1 - (value - low) / ((high - low) or 1)):.1f}"
            for step, value in curve
        )
        yield {"title": title, "low": low, "high": high, "last": values[-1], "line": line,
               "first_step": first, "last_step": last}  # fmt: skip


def scalars(points: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Return the curves of a run by name; each is a list of step and value."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for point in points:
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
        for name, value in values.items():
            curves.setdefault(name, []).append((point["step"], value))
    return {name: curves[name] for name in sorted(curves, key=lambda name: (name != "loss", name))}


def tensorboard(points: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the curves as one file of events, as TensorBoard reads it."""
    from tensorboardX import SummaryWriter

    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            for name, curve in scalars(points).items():
                for step, value in curve:
                    writer.add_scalar(name, value, step)
        (events,) = Path(folder).iterdir()
        return events.read_bytes()
