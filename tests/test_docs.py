"""Pages say what the code says, and every link in them leads somewhere."""

from __future__ import annotations

import asyncio
import re
import runpy
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
TABLES = runpy.run_path(str(ROOT / "docs" / "tables.py"))
COMMANDS = runpy.run_path(str(ROOT / "docs" / "cli.py"))
PAGES = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()
]  # fmt: skip


@pytest.mark.parametrize("page", TABLES["PAGES"], ids=lambda page: page.name)
def test_marked_parts_of_a_page_are_as_their_origin_has_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert TABLES["filled"](text) == text, "run `make docs`"
    assert TABLES["emptied"](text) != text
    assert TABLES["filled"](TABLES["emptied"](text)) == text


def test_the_page_of_commands_is_what_they_say_of_themselves() -> None:
    found = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert found == COMMANDS["markdown"](), "run `make docs`"


def _commands(group: Any = COMMANDS["GROUP"], before: str = "") -> dict[str, Any]:
    """The commands by the words that call them, those of groups too."""
    found = {}
    for name, command in group.commands.items():
        group_of_commands = hasattr(command, "commands")
        if not group_of_commands or command.invoke_without_command:
            found[f"{before}{name}"] = command
        if group_of_commands:
            found |= _commands(command, f"{before}{name} ")
    return found


@pytest.mark.parametrize("name", _commands())
def test_every_command_shows_an_example_that_it_reads_and_its_exit_codes(name: str) -> None:
    command = _commands()[name]
    (example,) = re.findall(r"^Example: (.+)$", command.help, re.MULTILINE)
    words = shlex.split(example)
    called = ["taiyi-ray", *name.split()]
    assert words[: len(called)] == called
    command.make_context(name, words[len(called) :])  # exits with 2 where an option is unknown
    assert re.search(r"^Exit codes: 0 ", command.help, re.MULTILINE)


@pytest.mark.parametrize("name", _commands())
def test_every_option_stands_on_the_page_of_commands_with_its_default(name: str) -> None:
    command = _commands()[name]
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = re.split(r"\n##+ ", page.partition(f"## `taiyi-ray {name}`")[2])[0]
    lines = [line for line in section.splitlines() if line.startswith("* `")]
    for option in command.params:
        if getattr(option, "hidden", False):  # an old name, which is still read
            continue
        flag = max(option.opts, key=len) if option.param_type_name == "option" else option.metavar
        (line,) = (line for line in lines if re.match(rf"\* `[^`]*{re.escape(flag)}[ `]", line))
        assert option.help in line
        # Most defaults are those of the settings, and stand in the help.
        assert option.default in (None, False) or f"default: {option.default}" in line


def test_the_picture_of_the_readme_shows_answers_that_are_read_as_they_say() -> None:
    picture = runpy.run_path(str(ROOT / "docs" / "picture.py"))
    for shown in asyncio.run(picture["annotated"]()):
        assert (shown.status, shown.errors) == ("ok", [])
        text = shown.document.text
        answered = "\n".join(answer.raw for answer in shown.answers)
        assert len(shown.annotations.relations) == 2
        for mention in shown.annotations.mentions:
            assert mention.text == text[mention.start : mention.end]
            assert mention.text in answered
    assert "Relations" in picture["page"]()
    assert (ROOT / "docs" / "report.png").stat().st_size < 300_000


def tokens(text: str) -> Iterator[Token]:
    """All that Markdown is made of, inside paragraphs, cells and headings too."""
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text):
        yield token
        yield from token.children or ()


def anchors(text: str) -> set[str]:
    """What links may name of a page: its headings, as GitHub spells them."""
    found: Counter[str] = Counter()
    names = set()
    parsed = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    for before, token in pairwise(parsed):
        if before.type == "heading_open":
            heading = "".join(part.content for part in token.children or ()).lower()
            name = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
            names.add(f"{name}-{found[name]}" if found[name] else name)
            found[name] += 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_or_heading_leads_there(page: Path) -> None:
    missing = []
    for token in tokens(page.read_text(encoding="utf-8")):
        link = str(token.attrGet("href") or token.attrGet("src") or "")
        if not link or re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            missing.append(link)
    assert not missing


def test_headings_are_named_as_github_names_them() -> None:
    text = "# One, `two` & three\n\ntext\n\n## A_b-c 中文！\n\n## A\n\n## A\n\n```\n# none\n```\n"
    assert anchors(text) == {"one-two--three", "a_b-c-中文", "a", "a-1"}


def test_readme_fits_on_three_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_page_is_reached_from_the_readme() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        for token in tokens(page.read_text(encoding="utf-8")):
            target = (page.parent / str(token.attrGet("href") or "").partition("#")[0]).resolve()
            if target.suffix == ".md" and target in PAGES and target not in reached:
                ahead.append(target)
    of_tests = {page for page in PAGES if page.is_relative_to(ROOT / "tests")}
    assert set(PAGES) - of_tests - reached == set()
