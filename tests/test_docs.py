"""Pages with tables that come from the code say what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = runpy.run_path(str(Path(__file__).resolve().parents[1] / "docs" / "tables.py"))


@pytest.mark.parametrize("page", DOCS["PAGES"], ids=lambda page: page.name)
def test_tables_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert DOCS["filled"](text) == text, "run `make docs`"
    assert DOCS["filled"](text.replace(" |\n", " !\n")) != text.replace(" |\n", " !\n")
