"""Wordings of templates, and where the document stands in a prompt."""

from __future__ import annotations

import pytest

from taiyi_ray.tasks import template


def test_wordings_of_a_file_are_between_lines_of_dashes() -> None:
    first, *others = template.wordings("mt.v1", "en")
    assert first == "Translate the text into Chinese. Answer with the translation only."
    assert len(others) == 2
    assert not any("---" in wording for wording in (first, *others))


def test_digests_differ_by_wording_and_language() -> None:
    digests = {template.digest("mt.v1", lang, n) for lang in ("en", "zh") for n in (1, 2, 3)}
    assert len(digests) == 6


def test_what_is_wanted_and_not_given_is_an_error() -> None:
    import jinja2

    with pytest.raises(jinja2.UndefinedError):
        template.render("summary.v1", "en", 1, {})


@pytest.mark.parametrize(
    ("text", "document_first", "prompt"),
    [("T", True, "T\n\nI"), ("T", False, "I\n\nT"), ("", True, "I"), ("", False, "I")],
)
def test_layout(text: str, document_first: bool, prompt: str) -> None:
    assert template.lay_out("I", text, document_first=document_first) == prompt
