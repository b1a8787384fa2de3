"""The models that come with the program, by name, and finding a model of any name."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from taiyi_ray import cache
from taiyi_ray.config import DEMO_MODEL, EMBEDDED_MODEL
from taiyi_ray.errors import ModelError
from taiyi_ray.models import embedded, folder
from taiyi_ray.models.adapters import merge_adapter
from taiyi_ray.models.folder import Model

logger = logging.getLogger(__name__)

SHIPPED: dict[str, Path | None] = {
    EMBEDDED_MODEL: None,
    DEMO_MODEL: Path(__file__).with_name("demo"),
}
"""The shipped models: for each the folder of the adapter that is merged into the embedded base, or
None for the base alone. An adapter lies in this package, with its model card."""


def find(name: str) -> Model:
    """Find a model, making or fetching it into the cache where needed.

    Args:
        name: a shipped model (SHIPPED), a local folder, an `s3://bucket/prefix` address, or a
            Hugging Face id `org/name`, with `@revision` or without.

    Raises:
        ModelError: when there is no such model.
        StorageError: when the cache or the bucket cannot be used.
    """
    if name not in SHIPPED:
        return folder.find(name)
    made = cache.made_once(cache.folder() / EMBEDDED_MODEL, _write_base)
    base = replace(folder.find(str(made)), name=EMBEDDED_MODEL)
    adapter = SHIPPED[name]
    if adapter is None:
        return base
    if not (adapter / "adapter_config.json").is_file():
        raise ModelError(
            f"model {name}: its adapter is not in this installation ({adapter}); `make demo-model` "
            f"trains it, or give another model with --model, such as {EMBEDDED_MODEL}"
        )
    return replace(merge_adapter(base, str(adapter)), name=name)


def _write_base(path: Path) -> None:
    logger.info("making %s, once: a download of 93 MB and about half a minute", EMBEDDED_MODEL)
    embedded.write(path)
