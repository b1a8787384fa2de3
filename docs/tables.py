"""Write the tables that come from the code into the pages that show them (`make docs`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from taiyi_ray import formats
from taiyi_ray.tasks import manual

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "formats.md")
TABLES: dict[str, Callable[[], str]] = {"formats": formats.markdown, "tasks": manual.table}

_PLACE = re.compile(r"(<!-- ([a-z]+): begin -->\n).*?(<!-- \2: end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text of a page with every table as the code says."""
    return _PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]]()}{place[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
