"""What pages of annotated documents share; how it behaves is tested where a page uses it."""

from __future__ import annotations

import json
import re

import pytest

from taiyi_ray import highlight

PAGES = [("taiyi_ray.job", "report"), ("taiyi_ray.serve", "page")]


def test_script_style_and_types_know_the_same_colours() -> None:
    script = highlight.script(*PAGES[0])
    style = highlight.style(*PAGES[0])
    palette = re.search(r"PALETTE = (\d+)", script)
    classes = {int(n) for n in re.findall(r"^\.c(\d+) ", style, re.MULTILINE)}
    given = highlight.colours(map(str, range(100)))
    assert palette
    assert classes == set(range(int(palette[1]))) == set(given.values()) - {None}


@pytest.mark.parametrize(("package", "name"), PAGES)
def test_a_script_and_a_style_can_stand_in_html_as_they_are(package: str, name: str) -> None:
    assert not re.search("</script|<!--", highlight.script(package, name), re.IGNORECASE)
    assert "</style" not in highlight.style(package, name).lower()


def test_json_cannot_end_its_element_and_stays_what_it_was() -> None:
    hostile = {"</script><!--": ["<img onerror=x>", "&lt;", "\u2028\u2029", "阿司匹林 🧬"]}
    written = highlight.as_json(hostile)
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == hostile


def test_the_hash_is_that_of_the_policy() -> None:
    """The example of https://www.w3.org/TR/CSP3/#external-hash."""
    assert highlight.csp_hash("alert('Hello, world.');") == (
        "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
    )
