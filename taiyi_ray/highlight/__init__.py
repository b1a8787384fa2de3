"""Safe pages of annotated documents, each in one file: style, script, colours by type.

A page needs no other file: it holds its style, its one script and its data. The data is JSON that
no text can break out of, and the script writes it as text, never as HTML. The content security
policy of the page allows only this script, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

UNTYPED = "(untyped)"
"""The name that pages show for a mention without a type."""

# The usual types have the same colour on every page. Other types share the colours that are left,
# in the order of their names.
_COLOURS = (
    "disease", "chemical", "gene", "species", "anatomy", "symptom",
    "procedure", "variant", "cell_line", None, None, None,
)  # fmt: skip

_JSON_ESCAPES = str.maketrans(
    {char: f"\\u{ord(char):04x}" for char in ("<", ">", "&", "\u2028", "\u2029")}
)


def colours(types: Iterable[str]) -> dict[str, int | None]:
    """Return the number of the colour of each type; equal sets of types get equal colours."""
    usual = {name: number for number, name in enumerate(_COLOURS) if name}
    present = set(types) - {UNTYPED}
    numbers: dict[str, int | None] = {
        name: number for name, number in usual.items() if name in present
    }
    unusual = sorted(present - numbers.keys())
    # Other types first get the colours of no usual type, then those of usual types that are not on
    # this page.
    spare = [n for n, name in enumerate(_COLOURS) if name is None]
    spare += [n for n, name in enumerate(_COLOURS) if name is not None and name not in present]
    spare = spare or list(range(len(_COLOURS)))
    numbers.update((name, spare[n % len(spare)]) for n, name in enumerate(unusual))
    numbers[UNTYPED] = None
    return numbers


def script(package: str, name: str) -> Markup:
    """The script of a page: the part that all pages share, then `<name>.js` of a package."""
    return Markup(_source(__name__, "highlight.js") + "\n" + _source(package, f"{name}.js"))


def style(package: str, name: str) -> Markup:
    """The style sheet of a page: the part that all pages share, then `<name>.css` of a package."""
    return Markup(_source(__name__, "highlight.css") + "\n" + _source(package, f"{name}.css"))


def template(package: str, name: str, **filters: Callable[..., Any]) -> Template:
    """Load the template `<name>.html.jinja` of a package, which escapes the values it is given.

    It may import the templates of this package, which all pages share.

    Args:
        package: the package that holds the template.
        name: the name of the file without its ending.
        filters: further Jinja filters for the template.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(partial(_source, __name__)),
    )
    environment.filters |= filters
    return environment.from_string(_source(package, f"{name}.html.jinja"))


def as_json(value: object) -> Markup:
    """Write JSON for a <script>: nothing in it can end the element or start a comment."""
    return Markup(json.dumps(value, ensure_ascii=False).translate(_JSON_ESCAPES))


def csp_hash(source: str) -> str:
    """The source expression by which a content security policy allows this one script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _source(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")
