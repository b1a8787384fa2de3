"""The wordings of questions: one Jinja file for each task, version and language.

A file holds twenty wordings of the same instruction, with lines `---` between them. A run uses one
of them, by default the first; training draws from all. The wording does not decide where the
document stands: after the instruction, or before it when more than one question is about the
document. A released wording keeps its bytes and its number, so new ones go to the end of a file.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

import jinja2
from pydantic import BaseModel, ConfigDict, Field, JsonValue

SHORT = 4
"""The number of the short wording in every file. It only names what is asked for, in some 5 to 10
tokens, because a model that was trained on these wordings knows the rest. So behind a document that
many questions share each of them costs little."""


class AskingForm(BaseModel):
    """The form of questions and answers that a model wants, because it was trained on it.

    Attributes:
        wording: the number of the wording of its questions, from 1.
        headed: whether its answers keep their head when they say that there is nothing. Then a
            prompt can hold the head.
        document_first: whether the document stands before every question; else only before those
            of a run that asks several about each document.
        tasks: options by task, as in a task file, that count where nobody gave others: the types
            that the model was trained on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wording: int = Field(default=1, ge=1)
    headed: bool = False
    document_first: bool = Field(default=False, exclude_if=lambda first: not first)
    tasks: dict[str, dict[str, JsonValue]] = Field(default={}, exclude_if=lambda tasks: not tasks)


PLAIN_FORM = AskingForm()
"""The form for models of which nothing is known."""

SHORT_FORM = AskingForm(wording=SHORT, headed=True)
"""The form of the fewest tokens."""

_BETWEEN = re.compile(r"^---\n", re.MULTILINE)


@cache
def wordings(name: str, language: str) -> tuple[str, ...]:
    """The wordings of a template (`ner.v2`) in a language, the default first."""
    resource = files("taiyi_ray.tasks").joinpath("templates", f"{name}.{language}.jinja")
    return tuple(part.strip("\n") for part in _BETWEEN.split(resource.read_text(encoding="utf-8")))


def digest(name: str, language: str, wording: int) -> str:
    """16 hexadecimal digits of the SHA-256 of a wording, counted from 1.

    Args:
        name: the name and version of the template (`ner.v2`).
        language: the language of the wording.
        wording: the number of the wording, counted from 1.
    """
    return hashlib.sha256(wordings(name, language)[wording - 1].encode()).hexdigest()[:16]


@cache
def _template(name: str, language: str, wording: int) -> jinja2.Template:
    source = wordings(name, language)[wording - 1]
    template: jinja2.Template = jinja2.Template(
        source, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return template


def render(name: str, language: str, wording: int, values: dict[str, object]) -> str:
    """Write an instruction; a wording may end with a list, whose last line end is dropped.

    Args:
        name: the name and version of the template (`ner.v2`).
        language: the language of the instruction.
        wording: the number of the wording, counted from 1.
        values: the values that the wording names.
    """
    return _template(name, language, wording).render(values).rstrip("\n")


def lay_out(instruction: str, text: str, *, document_first: bool) -> str:
    """Make the prompt: the instruction and the text, if there is one, with an empty line between.

    Args:
        instruction: the instruction.
        text: the text; empty for a prompt without one.
        document_first: whether the text stands before the instruction.
    """
    parts = (text, instruction) if document_first else (instruction, text)
    return "\n\n".join(part for part in parts if part)
