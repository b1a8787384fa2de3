"""The files of a build: named by what they are below the data root, and told apart by content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taiyi_ray import catalogue
from taiyi_ray.catalogue import DataRoot
from taiyi_ray.catalogue.entry import Entry, Split
from taiyi_ray.instruct.inputs import changes, inputs
from tests.instruct.corpora import bc5cdr, numbered

ENTRY = catalogue.entry("bc5cdr")
WANTED: list[tuple[Entry, Split]] = [(ENTRY, "train"), (ENTRY, "test")]
TRAIN = "CDR_TrainingSet.PubTator.txt"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return bc5cdr(tmp_path, train=numbered(0, 3), test=numbered(5, 2))


def test_files_are_known_by_their_names_below_the_data_root(data: Path) -> None:
    known = inputs(WANTED, DataRoot(data))
    assert {name: [state.path for state in states] for name, states in known.items()} == {
        "bc5cdr/train": [TRAIN],
        "bc5cdr/test": ["CDR_TestSet.PubTator.txt"],
    }


def test_a_file_that_was_only_touched_or_moved_has_not_changed(data: Path, tmp_path: Path) -> None:
    planned = inputs(WANTED, DataRoot(data))
    os.utime(data / TRAIN, (1, 1))
    assert changes(planned, WANTED, DataRoot(data)) == []
    (tmp_path / "deeper").mkdir()
    (data / TRAIN).rename(tmp_path / "deeper" / TRAIN)
    assert changes(planned, WANTED, DataRoot(data)) == [
        f"bc5cdr/train: {TRAIN} has gone",
        f"bc5cdr/train: deeper/{TRAIN} has come",
    ]


def test_a_changed_file_is_named_though_its_size_is_the_same(data: Path) -> None:
    planned = inputs(WANTED, DataRoot(data))
    (data / TRAIN).write_text((data / TRAIN).read_text().replace("gave", "give"))
    assert changes(planned, WANTED, DataRoot(data)) == [f"bc5cdr/train: {TRAIN} has changed"]


def test_a_split_that_comes_or_goes_is_named(data: Path) -> None:
    planned = inputs(WANTED, DataRoot(data))
    dev: tuple[Entry, Split] = (ENTRY, "dev")
    assert changes(planned, [*WANTED, dev], DataRoot(data)) == ["bc5cdr/dev has come"]
    assert changes(planned, WANTED[:1], DataRoot(data)) == ["bc5cdr/test has gone"]


def test_files_beside_a_source_belong_to_it(shared_data: Path) -> None:
    entry = catalogue.entry("seedev_full")
    (states,) = inputs([(entry, "dev")], DataRoot(shared_data)).values()
    assert {Path(state.path).suffix for state in states} == {".a1", ".a2", ".txt"}
    assert len(states) == 3 * 19
