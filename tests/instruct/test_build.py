"""The build on a real Ray: what is written, what is kept out, and that a build is repeatable."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from taiyi_ray import catalogue, models, storage
from taiyi_ray.instruct.instruction import SCHEMA
from taiyi_ray.models.trained import document_keys
from tests.instruct.building import build, command, started
from tests.instruct.corpora import bc5cdr, numbered


def instructions(output: Path, folder: str) -> list[dict[str, Any]]:
    files = sorted((output / folder).rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


FEW = 10
"""Documents of a file, of which the training split of BC5CDR then has five."""


def files_of(output: Path) -> dict[str, bytes]:
    return {str(f.relative_to(output)): f.read_bytes() for f in output.rglob("*.parquet")}


def test_instructions_are_by_stage_dataset_and_split(built: Path) -> None:
    assert {str(Path(name).parent) for name in files_of(built)} == {
        *("stage1/bc5cdr/train", "stage1/ncbi_disease/train"),
        *("dev/bc5cdr/dev", "dev/ncbi_disease/train"),
    }
    file = next((built / "stage1").rglob("*.parquet"))
    assert pq.read_schema(file).equals(SCHEMA)


def test_rates_are_the_papers(built: Path) -> None:
    made = json.loads((built / "_manifest.json").read_text())
    (train,) = [one for one in made["datasets"] if one["folder"] == "stage1"][:1]
    # 42 documents at 1.3 records a document, less those of the two that are left out.
    assert train["paper"] == {"ner": 650, "re": 500}
    ner, re = train["instructions"]
    assert (ner["task"], re["task"], re["made"]) == ("ner", "re", 40)
    assert 50 <= ner["made"] <= 54
    # What the catalogue expects of the whole dataset, and what the documents that are here give.
    assert train["expected"] == {"documents": 500, "instructions": {"ner": 55, "re": 42}}


def test_what_stands_in_a_test_set_or_twice_does_not_train(built: Path) -> None:
    trained = {row["document_id"] for row in instructions(built, "stage1")}
    assert not trained & {"5000", "1999", "1205"}
    made = json.loads((built / "_manifest.json").read_text())
    by_name = {one["dataset"]: one for one in made["datasets"] if one["folder"] == "stage1"}
    assert by_name["bc5cdr"]["rejected"] == {"duplicate": 1, "in a test set": 1}
    assert by_name["bc5cdr"]["overlaps"] == {"text in ncbi_disease": 1}
    assert by_name["ncbi_disease"]["overlaps"] == {"pmid in bc5cdr": 1}
    held_out = {f"{e.name}/{split}" for e in catalogue.entries() for split in e.held_out}
    assert set(made["unchecked"]) == held_out - {"bc5cdr/test", "ncbi_disease/test"}


def test_the_documents_that_train_are_known(data: Path, built: Path) -> None:
    known = models.trained_on(str(built))
    assert known is not None and set(known.splits) == {"bc5cdr/train", "ncbi_disease/train"}
    every = list(catalogue.load(catalogue.entry("bc5cdr"), "train", data_root=data))
    trained = {row["document_id"] for row in instructions(built, "stage1/bc5cdr")}
    found = {d.document_id for d in every if known.having(document_keys(d, d.document_id))}
    assert found == trained | {"1999"}, "1999 has the text of one that trains"


def test_what_another_dataset_trains_on_is_not_held_out_for_the_loss(built: Path) -> None:
    assert "8000" not in {row["document_id"] for row in instructions(built, "dev")}
    made = json.loads((built / "_manifest.json").read_text())
    (dev,) = [
        one for one in made["datasets"] if (one["dataset"], one["split"]) == ("bc5cdr", "dev")
    ]
    assert dev["rejected"] == {"in the training set of ncbi_disease": 1}


def test_questions_on_one_document_share_a_group(built: Path) -> None:
    groups = {row["group"]: row["document_id"] for row in instructions(built, "stage1")}
    assert len(groups) == len(set(groups.values()))


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_workers(
    joined: None, data: Path, built: Path, tmp_path: Path
) -> None:
    assert files_of(build(data, tmp_path, workers=4)) == files_of(built)


@pytest.mark.slow
def test_a_part_of_several_files_has_the_same_bytes_on_any_number_of_workers(
    joined: None, data: Path, built: Path, tmp_path: Path
) -> None:
    one, two = (
        build(data, tmp_path / str(workers), workers=workers, unit_documents=FEW)
        for workers in (1, 2)
    )
    assert len(list((one / "stage1/bc5cdr/train").iterdir())) == 5
    assert files_of(one) == files_of(two)
    for folder in ("stage1", "dev"):
        assert instructions(one, folder) == instructions(built, folder)


def test_a_build_goes_on_where_one_ended_and_refuses_other_settings(
    joined: None, data: Path, built: Path
) -> None:
    before = files_of(built)
    next((built / "stage1").rglob("*.parquet")).unlink()
    refused = command(data, built, seed=1)
    assert refused.returncode == 2
    assert "belongs to a build with other seed; use the same settings" in refused.stderr
    build(data, built)
    assert files_of(built) == before


def test_a_build_goes_on_where_its_corpora_moved_and_refuses_changed_ones(
    joined: None, data: Path, built: Path, tmp_path: Path
) -> None:
    before = files_of(built)
    moved = tmp_path / "moved"
    shutil.copytree(data, moved, copy_function=shutil.copyfile)
    next((built / "stage1").rglob("*.parquet")).unlink()
    bc5cdr(moved, train=numbered(0, 43))
    refused = command(moved, built)
    assert refused.returncode == 2
    assert (
        f"{built}: belongs to a build with other files: bc5cdr/train: "
        "CDR_TrainingSet.PubTator.txt has changed; put back what was there"
    ) in refused.stderr
    shutil.copyfile(data / "CDR_TrainingSet.PubTator.txt", moved / "CDR_TrainingSet.PubTator.txt")
    build(moved, built)
    assert files_of(built) == before


def test_the_report_shows_every_dataset(built: Path) -> None:
    page = (built / "report.html").read_text()
    assert "ncbi_disease" in page and "text in ncbi_disease" in page


def test_the_report_shows_both_stages_beside_the_papers_and_what_is_not_as_expected(
    built: Path,
) -> None:
    page = (built / "report.html").read_text()
    made = json.loads((built / "_manifest.json").read_text())
    here = sum(r["made"] for one in made["datasets"][::2] for r in one["instructions"])
    assert f"First stage: {here:,} here, " in page
    assert "Second stage, besides: 0 here, 271,388 in Taiyi's mix" in page
    assert "502,527 records of general dialogue" in page
    assert "<td>dev</td><td>ncbi_disease</td><td>train</td>" in page, "of which nothing came"
    assert "expects: bc5cdr/train has 42 of 500, bc5cdr/dev has 11 of 500, ncbi" in page


def test_the_command_says_of_what_nothing_came_and_what_is_not_as_expected(
    data: Path, built: Path
) -> None:
    ended = command(data, built)
    assert "note: no instruction came of dev/ncbi_disease/train: no document" in (ended.stderr)
    assert (
        "note: not as many documents as the catalogue expects: bc5cdr/train has 42 of 500, "
        "bc5cdr/dev has 11 of 500, ncbi_disease/train has 11 of 593 (`taiyi-ray datasets check` "
        "says more)"
    ) in ended.stderr


def test_a_dataset_that_is_not_there_is_named_with_its_address(tmp_path: Path) -> None:
    ended = command(tmp_path, tmp_path / "out")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "bc5cdr: the files of its train split are not below" in line
    assert "get it at http" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.alone
def test_a_corpus_that_is_not_what_its_entry_says_is_one_line_with_file_and_record(
    tmp_path: Path,
) -> None:
    (pmid, title, abstract, mentions), *others = numbered(0, 3)
    odd = (pmid, title, abstract, [(surface, "Gene") for surface, _ in mentions])
    bc5cdr(tmp_path, train=[*others, odd])
    ended = command(tmp_path, tmp_path / "out", datasets="bc5cdr")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "taiyi-ray: bc5cdr: CDR_TrainingSet.PubTator.txt, record 2: 'Gene' is not in the map "
        "`types`; add it there in catalogue/rows/bc5cdr.yaml, with null to leave it out"
    )
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_two_workers_give_the_same_bytes_too(data: Path, built: Path, tmp_path: Path) -> None:
    assert files_of(build(data, tmp_path, workers=2)) == files_of(built)


def kill_after(files: int, of: subprocess.Popen[bytes], found: Callable[[], int]) -> None:
    """Kill all processes of a build as soon as so many files are found."""
    end = time.monotonic() + 200
    while found() < files and of.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(of.pid, signal.SIGKILL)
    of.wait()


@pytest.mark.slow
@pytest.mark.parametrize("files", [1, 3])
def test_a_build_that_is_killed_goes_on_to_the_same_bytes(
    data: Path, built: Path, tmp_path: Path, files: int
) -> None:
    kill_after(files, started(data, tmp_path), lambda: len(files_of(tmp_path)))
    assert files_of(build(data, tmp_path)) == files_of(built)


@pytest.mark.slow
def test_a_build_that_is_killed_amid_the_files_of_a_part_makes_the_others(
    data: Path, tmp_path: Path
) -> None:
    whole = files_of(build(data, tmp_path / "whole", unit_documents=FEW))
    output = tmp_path / "killed"
    part = output / "stage1/bc5cdr/train"
    killed = started(data, output, unit_documents=FEW)
    kill_after(2, killed, lambda: len(list(part.glob("*.parquet"))))
    assert 2 <= len(list(part.glob("*.parquet"))) < 5, "killed amid a part"
    # The plan knows the files that are left, whatever size new ones would have.
    assert files_of(build(data, output)) == whole


@pytest.mark.slow
def test_corpora_and_instructions_may_lie_in_a_bucket(
    data: Path, built: Path, bucket: str, tmp_path: Path
) -> None:
    for file in data.iterdir():
        storage.put_if_absent(f"{bucket}/corpora/{file.name}", file.read_bytes())
    ended = command(f"{bucket}/corpora", f"{bucket}/out")
    assert ended.returncode == 0, ended.stderr
    assert in_bucket(f"{bucket}/out") == files_of(built)


@pytest.mark.slow
def test_a_build_in_a_bucket_that_is_killed_goes_on_to_the_same_bytes(
    data: Path, built: Path, bucket: str
) -> None:
    output = f"{bucket}/out"
    killed = started(data, output)
    kill_after(2, killed, lambda: len(in_bucket(output)))
    ended = command(data, output)
    assert ended.returncode == 0, ended.stderr
    assert in_bucket(output) == files_of(built)


def in_bucket(output: str) -> dict[str, bytes | None]:
    return {
        stored.path[len(output) + 1 :]: storage.read(stored.path)
        for stored in storage.walk(output)
        if stored.path.endswith(".parquet")
    }
