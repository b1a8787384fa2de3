"""taiyi_ray: distributed annotation of biomedical literature in English and Chinese.

In Python, for what fits on this machine (docs/python.md); `taiyi-ray` is the command line:

    import taiyi_ray as ty

    for document in ty.read("pubmed26n0001.xml.gz"):
        print(document.document_id, document.title)

    rows = ty.annotate(["Aspirin eased pain."], tasks=["ner"], types=["chemical", "symptom"])
    rows[0].mentions

    for row in ty.read_rows("out/"):
        print(row.document_id, len(row.mentions))
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taiyi_ray.errors import TaiyiError
    from taiyi_ray.formats import read
    from taiyi_ray.notebook import NotebookAnnotator, annotate, annotate_async, annotator
    from taiyi_ray.records import Document
    from taiyi_ray.rows import Row, Rows, read_rows

__version__ = "0.1.0"

# Whoever imports peft imports bitsandbytes, which then warns on some CPUs that a kernel for
# answering is missing. Nothing here uses that kernel.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

__all__ = [
    "Document",
    "NotebookAnnotator",
    "Row",
    "Rows",
    "TaiyiError",
    "annotate",
    "annotate_async",
    "annotator",
    "read",
    "read_rows",
]

_HOMES = {
    "errors": ("TaiyiError",),
    "formats": ("read",),
    "notebook": ("NotebookAnnotator", "annotate", "annotate_async", "annotator"),
    "records": ("Document",),
    "rows": ("Row", "Rows", "read_rows"),
}


def __getattr__(name: str) -> Any:
    """Load what is offered when it is asked for first: every module imports this package."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
