"""A small data root, and what is built of it: a build takes seconds, so that tests share it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.instruct.building import build
from tests.instruct.corpora import Record, bc5cdr, ncbi_disease, numbered

LEAKED: Record = (
    "5000",
    "A long title of a document that another corpus has as well.",
    "It says a lot about drug77 and about illness77, and nobody would write the same by chance.",
    [("drug77", "Chemical"), ("illness77", "Disease")],
)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpora")
    again, trained = numbered(3, 1)[0], numbered(300, 1)[0]
    bc5cdr(
        root,
        train=[*numbered(0, 40), ("1999", *again[1:]), LEAKED],
        dev=[*numbered(100, 10), ("8000", *trained[1:])],
        test=numbered(200, 10),
    )
    ncbi_disease(
        root,
        train=[*numbered(300, 10), ("1205", "Another title.", "Another text.", [])],
        test=[("9999", *LEAKED[1:]), *numbered(400, 5)],
    )
    return root


@pytest.fixture(scope="session")
def built(
    data: Path, ray_cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    with pytest.MonkeyPatch.context() as joined:
        for name, value in ray_cluster.items():
            joined.setenv(name, value)
        return build(data, tmp_path_factory.mktemp("built"))
