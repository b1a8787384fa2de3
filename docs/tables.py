"""Write the parts that come from elsewhere into the pages that show them (`make docs`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import yaml

from taiyi_ray import catalogue, formats
from taiyi_ray.catalogue import views
from taiyi_ray.engine import http
from taiyi_ray.evaluate import benchmark
from taiyi_ray.instruct import tables as instruct_tables

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("annotate", "datasets", "evaluation", "formats", "sql")
    ),
    ROOT / "taiyi_ray" / "models" / "demo" / "README.md",
)

_MARKED = re.compile(r"(<!-- ([a-z]+): begin -->\n).*?(<!-- \2: end -->)", re.DOTALL)


def _questions() -> str:
    """The statements of examples/questions.sql, without the comment on the file itself."""
    text = (ROOT / "examples" / "questions.sql").read_text(encoding="utf-8")
    return f"```sql\n{text.partition(chr(10) * 2)[2].rstrip()}\n```\n"


def _http() -> str:
    """The arguments of the engine that asks a server."""
    rows = [
        f"| `{name}` | {field.default or ''} | {field.description} |"
        for name, field in http.Arguments.model_fields.items()
    ]
    return "\n".join(["| Argument | Default | Meaning |", "|---|---|---|", *rows, ""])


def _built() -> str:
    """What was built of the corpora that were here (`make built`), from the kept manifest."""
    made = json.loads((ROOT / "docs" / "built.json").read_text(encoding="utf-8"))
    return instruct_tables.markdown(made)


def _demo() -> str:
    """The corpora that the shipped model is trained on, with their terms."""
    text = (ROOT / "examples" / "demo-instructions.yaml").read_text(encoding="utf-8")
    entries = [catalogue.entry(name) for name in yaml.safe_load(text)["datasets"]]
    rows = [
        f"| [{one.name}]({one.address}) | {', '.join(one.language)} | {one.licence} | {one.terms} |"
        for one in entries
    ]
    return "\n".join(["| corpus | language | licence | terms |", "|---|---|---|---|", *rows, ""])


PARTS: dict[str, Callable[[], str]] = {
    "benchmarks": benchmark.markdown,
    "built": _built,
    "catalogue": views.summary,
    "datasets": views.markdown,
    "demo": _demo,
    "formats": formats.markdown,
    "named": formats.markdown_of_named,
    "http": _http,
    "questions": _questions,
}


def filled(text: str) -> str:
    """The text of a page with every marked part as its origin has it."""
    return _MARKED.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}{part[3]}", text)


def emptied(text: str) -> str:
    """The text of a page with nothing in its marked parts."""
    return _MARKED.sub(r"\1\3", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
