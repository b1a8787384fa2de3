"""Puts the tables of results/*.json into the pages that show them, each between its two marks."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.measure import RESULTS, ROOT, table

PAGES = (
    Path(__file__).with_name("README.md"),
    ROOT / "docs" / "evaluation.md",
    ROOT / "taiyi_ray" / "models" / "demo" / "README.md",
)
_PLACE = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with every table as its result says.

    Raises:
        FileNotFoundError: a table has no result.
    """
    return _PLACE.sub(lambda place: f"{place[1]}{_section(place[2])}{place[3]}", text)


def _section(name: str) -> str:
    result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    machine, versions = result["machine"], result["versions"]
    origin = (
        f"`{result['command']}`, {result['date'][:10]}, revision {result['revision']}; "
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB; "
        + ", ".join(f"{package} {version}" for package, version in versions.items())
    )
    return f"{table(result['rows'])}\n\n{origin}.\n"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
