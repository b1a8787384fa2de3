"""The work on units, done here without a cluster: what trains, and what is held out."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from taiyi_ray import storage
from taiyi_ray.catalogue import DataRoot
from taiyi_ray.config import InstructConfig
from taiyi_ray.corpus.units import Units
from taiyi_ray.instruct.overlap import Index
from taiyi_ray.instruct.plan import Part, choose, parts, scan
from taiyi_ray.instruct.workers import ENDING, FOOTER, make_unit, read_units
from taiyi_ray.models.trained import Trained
from tests.instruct.corpora import bc5cdr, ncbi_disease, numbered

TRAIN, DEV = range(300), range(300, 400)
"""The numbers of the documents of each split."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    folder = tmp_path_factory.mktemp("corpora")
    (known,) = numbered(5, 1)
    bc5cdr(
        folder,
        train=numbered(TRAIN.start, len(TRAIN)),
        dev=[*numbered(DEV.start, len(DEV)), ("8005", *known[1:])],
        test=numbered(900, 2),
    )
    # One of the development documents, and some of its own.
    ncbi_disease(folder, train=[*numbered(DEV.start, 1), *numbered(500, 60)])
    return DataRoot(folder)


def config(root: DataRoot, **settings: Any) -> InstructConfig:
    chosen = {"datasets": ["bc5cdr", "ncbi_disease"], "tasks": ["ner"], "most": 200} | settings
    return InstructConfig(data_root=root.address, output="out", **chosen)


def planned(settings: InstructConfig, root: DataRoot) -> tuple[list[Part], Trained]:
    chosen, _ = choose(settings, root, {}, {"bc5cdr": ("test",)})

    def scanning(wanted: Any) -> Iterator[Any]:
        return (scan(*one, root.address, settings.limit) for one in wanted)

    return parts(chosen, settings, {}, scanning)


def done(part: Part, trained: Trained, root: DataRoot, output: Path) -> dict[str, Any]:
    """The tally of a part that is one unit, and `ids`: the documents that it asks about."""
    (unit,) = part.all_units()
    kept = {"held_out": Index.of([]).to_bytes(), "trained": trained.to_bytes()}
    for name, data in kept.items():
        storage.put_if_absent(f"{output}/{name}", data)
    (read,) = read_units(
        {
            "data_root": root.address,
            "part": part.model_dump_json(),
            "units": [unit.model_dump_json()],
        }
    )
    batch = {name: [value] for name, value in read.items()}
    names = {name: name for name in kept}
    receipt = make_unit(batch, output=str(output), seed=0, overlap=0.2, **names)
    assert receipt["error"] == [""]
    data = storage.read(Units(str(output), ENDING).path(unit)) or b""
    table = pq.read_table(io.BytesIO(data))
    tally = json.loads(table.schema.metadata[FOOTER])["tally"]
    return {**tally, "ids": set(table["document_id"].to_pylist())}


def made(settings: InstructConfig, root: DataRoot, output: Path) -> dict[str, dict[str, Any]]:
    wanted, trained = planned(settings, root)
    return {part.name: done(part, trained, root, output) for part in wanted}


def test_development_splits_train_when_the_user_wants_it(root: DataRoot, tmp_path: Path) -> None:
    found = made(config(root, train_on_dev=True), root, tmp_path)
    assert found.keys() == {
        *("stage1/bc5cdr/train", "dev/bc5cdr/train", "stage1/bc5cdr/dev", "dev/bc5cdr/dev"),
        *("stage1/ncbi_disease/train", "dev/ncbi_disease/train"),
    }
    # 2 % of each split is held out, and the other documents train.
    held_out = {name: of["documents"] for name, of in found.items() if name.startswith("dev/")}
    assert 0 < held_out["dev/bc5cdr/train"] <= 12 and 0 < held_out["dev/bc5cdr/dev"] <= 5
    for split in ("train", "dev"):
        both = [found[f"{folder}/bc5cdr/{split}"]["documents"] for folder in ("stage1", "dev")]
        assert sum(both) == {"train": len(TRAIN), "dev": len(DEV) + 1}[split]


def test_without_it_development_splits_are_only_held_out(root: DataRoot, tmp_path: Path) -> None:
    found = made(config(root), root, tmp_path)
    assert found.keys() == {
        *("stage1/bc5cdr/train", "dev/bc5cdr/dev"),
        *("stage1/ncbi_disease/train", "dev/ncbi_disease/train"),
    }
    assert found["stage1/bc5cdr/train"]["documents"] == len(TRAIN)


@pytest.mark.parametrize("ask", ["mixed", "apart"])
def test_each_document_is_used_rejected_or_not_drawn(
    root: DataRoot, tmp_path: Path, ask: str
) -> None:
    found = made(config(root, ask=ask, negatives=0.0), root, tmp_path)
    for of in found.values():
        assert of["documents"] == of["used"] + sum(of["rejected"].values()) + of["not_drawn"]
    assert found["stage1/bc5cdr/train"]["not_drawn"] == 100  # --most 200 of 300
    # Every second document has no disease, and no question that nothing answers is kept.
    assert found["dev/ncbi_disease/train"]["documents"] > 0
    assert found["stage1/ncbi_disease/train"]["not_drawn"] > 20


def test_a_document_that_is_held_out_trains_nowhere(root: DataRoot, tmp_path: Path) -> None:
    found = made(config(root, train_on_dev=True), root, tmp_path)
    trained: set[str] = set()
    held_out: set[str] = set()
    for name, of in found.items():
        (held_out if name.startswith("dev/") else trained).update(of["ids"])
    assert held_out and trained and not held_out & trained


def test_a_held_out_document_that_a_development_split_trains_is_left_out_with_its_dataset(
    root: DataRoot, tmp_path: Path
) -> None:
    wanted, trained = planned(config(root, train_on_dev=True), root)
    assert set(trained.splits) == {"ncbi_disease/train", "bc5cdr/train", "bc5cdr/dev"}
    (part,) = (one for one in wanted if one.name == "dev/ncbi_disease/train")
    every = part.model_copy(update={"dev_share": 1.0})  # one of them is in bc5cdr/dev
    found = done(every, trained, root, tmp_path)
    assert found["documents"] == 61
    assert found["rejected"] == {"in the training set of bc5cdr": 1}


def test_what_stands_in_a_split_that_trains_before_does_not_train_again(
    root: DataRoot, tmp_path: Path
) -> None:
    found = made(config(root, train_on_dev=True), root, tmp_path)
    assert found["stage1/bc5cdr/dev"]["rejected"] == {"duplicate": 1}
    assert "8005" not in found["stage1/bc5cdr/dev"]["ids"]


def test_splits_that_train_have_one_rate_one_cap_and_one_bound_of_held_out_documents(
    root: DataRoot,
) -> None:
    both = {p.name: p for p in planned(config(root, train_on_dev=True, dev_documents=4), root)[0]}
    train, dev = both["stage1/bc5cdr/train"], both["stage1/bc5cdr/dev"]
    assert train.mixes == dev.mixes
    assert train.mixes["ner"].rate == pytest.approx(200 / 401)  # --most 200, of both splits
    assert train.dev_share == dev.dev_share == pytest.approx(4 / 401)
    uncapped = planned(config(root, train_on_dev=True, most=10_000), root)[0]
    rates = {part.split: part.mixes["ner"].rate for part in uncapped if part.dataset == "bc5cdr"}
    assert rates == {"train": pytest.approx(1.3), "dev": pytest.approx(1.3)}


def test_a_development_split_that_is_held_out_does_not_train(root: DataRoot) -> None:
    chosen, _ = choose(config(root, train_on_dev=True), root, {}, {"bc5cdr": ("dev", "test")})
    assert set({one.entry.name: one.splits for one in chosen}["bc5cdr"]) == {"train"}
