"""Pages of annotated documents: how a document is drawn, colours by type, one file that is safe.

A page needs nothing from elsewhere: its style, its one script and its data stand in it. The data is
JSON that no text can break out of, the script writes it as text and never as HTML, and the page's
content security policy allows the script by its hash, and no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

UNTYPED = "(untyped)"
"""What a mention without a type is shown as."""

# The usual types keep their colour from page to page; others take what is left, by name.
_COLOURS = (
    "disease", "chemical", "gene", "species", "anatomy", "symptom",
    "procedure", "variant", "cell_line", None, None, None,
)  # fmt: skip

_JSON_ESCAPES = str.maketrans(
    {char: f"\\u{ord(char):04x}" for char in ("<", ">", "&", "\u2028", "\u2029")}
)


def colours(types: Iterable[str]) -> dict[str, int | None]:
    """Give each type the number of its colour; the same set of types always gets the same."""
    usual = {name: number for number, name in enumerate(_COLOURS) if name}
    present = set(types) - {UNTYPED}
    found: dict[str, int | None] = {
        name: number for name, number in usual.items() if name in present
    }
    unusual = sorted(present - found.keys())
    # Colours that no usual type took on this page come after those that no one ever takes.
    spare = [n for n, name in enumerate(_COLOURS) if name is None]
    spare += [n for n, name in enumerate(_COLOURS) if name is not None and name not in present]
    spare = spare or list(range(len(_COLOURS)))
    found.update((name, spare[n % len(spare)]) for n, name in enumerate(unusual))
    found[UNTYPED] = None
    return found


def script(package: str, name: str) -> Markup:
    """The one script of a page: what all pages share, and `<name>.js` of a package."""
    return Markup(_source(__name__, "highlight.js") + "\n" + _source(package, f"{name}.js"))


def style(package: str, name: str) -> Markup:
    """The one style sheet of a page: what all pages share, and `<name>.css` of a package."""
    return Markup(_source(__name__, "highlight.css") + "\n" + _source(package, f"{name}.css"))


def template(package: str, name: str, **filters: Callable[..., Any]) -> Template:
    """The template `<name>.html.jinja` of a package; what is put into it is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= filters
    return environment.from_string(_source(package, f"{name}.html.jinja"))


def as_json(value: object) -> Markup:
    """JSON that may stand in a <script>: nothing in it can end the element or start a comment."""
    return Markup(json.dumps(value, ensure_ascii=False).translate(_JSON_ESCAPES))


def csp_hash(source: str) -> str:
    """The source expression by which a content security policy allows this one script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _source(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")
