"""The input: which files, under which names, and whether they are still the same."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from taiyi_ray import storage
from taiyi_ray.annotate.sources import (
    check_unchanged_there,
    digest,
    find,
    known_file,
    source_name,
)
from taiyi_ray.errors import ConfigError


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return folder


def found(*inputs: str | Path) -> list[str]:
    return [Path(file.stored.path).name for file in find([str(i) for i in inputs]).files]


# ------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("path", "root", "name"),
    [
        ("/in/a.xml.gz", "/in", "a.xml.gz-a4d33457"),
        ("/in/deep/a b.txt", "/in", "deep%2Fa%20b.txt-1765d26e"),
        ("/in/病历.txt", "/in", "%E7%97%85%E5%8E%86.txt-b9e2887c"),
        ("s3://b/in/x=1/%41.txt", "s3://b/in/", "x%3D1%2F%2541.txt-a2843c2c"),
        ("/in/.hidden.txt", "/in", "%2Ehidden.txt-d3affcc1"),
        ("/in/_part/x.txt", "/in", "%5Fpart%2Fx.txt-e3d8f1d0"),
    ],
)
def test_a_name_is_the_path_below_the_root_and_eight_digits_of_the_address(path, root, name):
    assert source_name(path, root) == name
    assert unquote(name.rpartition("-")[0]) == path.removeprefix(root).lstrip("/")


def test_equal_names_below_two_roots_are_two_sources(tmp_path):
    one, two = files(tmp_path / "1", "a.txt"), files(tmp_path / "2", "a.txt")
    names = {file.name for file in find([str(one), str(two)]).files}
    assert len(names) == 2
    assert all(name.startswith("a.txt-") for name in names)


@pytest.mark.parametrize("letter", ["x", "病", "_"])
def test_a_long_name_fits_a_file_system(letter):
    folders = "/".join([letter * 50] * 5)
    one = source_name(f"/in/1/{folders}/a.txt", "/in")
    two = source_name(f"/in/2/{folders}/a.txt", "/in")
    assert one != two
    assert one.rpartition("-")[0].endswith("a.txt")
    assert len(f"{one}.parquet".encode()) < 255
    assert one[0] not in "._"


def test_readers_see_the_folder_of_every_source(tmp_path):
    given = ["_a.txt", ".b.txt", "c=1.txt", "100%.txt", "病历.txt", "e f#?.txt"]
    for name in given:
        folder = tmp_path / source_name(f"/in/{name}", "/in")
        folder.mkdir()
        pq.write_table(pa.table({"name": [name]}), folder / "000-000.parquet")
    seen = pyarrow.dataset.dataset(tmp_path).to_table()
    assert sorted(seen["name"].to_pylist()) == sorted(given)


# ------------------------------------------------------------------------------------------ files


def test_a_folder_is_read_to_its_bottom_in_a_stable_order(tmp_path):
    files(tmp_path, "b.txt", "a/z.jsonl", "a/b/c.XML.GZ", "c.md", "d", ".git/x.txt", "e/.y.txt")
    corpus = find([str(tmp_path)])
    below = [file.stored.path.removeprefix(f"{tmp_path}/") for file in corpus.files]
    assert below == ["a/b/c.XML.GZ", "a/z.jsonl", "b.txt"]
    assert corpus.passed_over == 2


def test_inputs_keep_their_order_and_each_file_comes_once(tmp_path, monkeypatch):
    files(tmp_path, "in/a.txt", "in/b.txt", "in/no.md", "z.txt")
    monkeypatch.chdir(tmp_path)
    given = ["z.txt", "in/b.txt", "in", "./in/../in/a.txt", "in/", "*.txt", str(tmp_path / "in")]
    corpus = find(given)
    assert [Path(file.stored.path).name for file in corpus.files] == ["z.txt", "b.txt", "a.txt"]
    assert len({file.name for file in corpus.files}) == 3
    assert corpus.passed_over == 1


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["a.txt"]),
        ("b/*", ["c.txt", "d.jsonl"]),
        ("**/*.txt", ["a.txt", "c.txt", "f.txt"]),
        ("b/?.txt", ["c.txt"]),
        ("b/[cd].*", ["c.txt", "d.jsonl"]),
        ("*/e", []),
        ("*/*.nothing", []),
    ],
)
def test_patterns(tmp_path, pattern, expected):
    files(tmp_path, "a.txt", "b/c.txt", "b/d.jsonl", "b/e/f.txt", ".h.txt", "b/.i/j.txt", "b/k.md")
    if expected:
        assert found(tmp_path / pattern) == expected
    else:
        with pytest.raises(ConfigError, match=r"the pattern matches no file$"):
            found(tmp_path / pattern)


def test_a_name_of_a_file_may_look_like_a_pattern(tmp_path):
    files(tmp_path, "[a]*.txt", "a1.txt")
    assert found(tmp_path / "[a]*.txt") == ["[a]*.txt"]


def test_a_hidden_file_is_read_when_it_is_named(tmp_path):
    files(tmp_path, ".a.txt")
    assert found(tmp_path / ".a.txt") == [".a.txt"]


def test_names_below_a_pattern_start_at_its_fixed_folder(tmp_path):
    files(tmp_path, "x/2020/a.txt")
    (file,) = find([f"{tmp_path}/x/20*/a.txt"]).files
    assert file.name.startswith("2020%2Fa.txt-")
    (same,) = find([f"{tmp_path}/x"]).files
    assert same == file


def test_the_text_of_annotations_is_read_with_them_and_is_no_source(tmp_path):
    files(
        tmp_path, "a.ann", "a.txt", "b.a1", "b.a2", "b.txt.gz", "c.txt", "d.a2", "e.ann.gz", "e.txt"
    )
    corpus = find([str(tmp_path)])
    names = [Path(file.stored.path).name for file in corpus.files]
    assert names == ["a.ann", "b.a1", "b.txt.gz", "c.txt", "e.ann.gz"]
    assert corpus.passed_over == 1
    assert found(tmp_path / "a.txt") == ["a.txt"]  # named by itself it is a text


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("none", "no such file or folder"),
        ("none/*.txt", "the pattern matches no file"),
        ("in/a.md", "is not of a known format (known: "),
        ("in", "holds no file of a known format (known: "),
        ("in/*.md", "holds no file of a known format (known: "),
        ("empty", "holds no file of a known format (known: "),
    ],
)
def test_an_input_without_anything_to_read_is_named(tmp_path, given, problem):
    files(tmp_path, "in/a.md", "good.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        find([str(tmp_path / "good.txt"), str(tmp_path / given)])
    assert str(caught.value).startswith(f"{tmp_path / given}: {problem}")
    if "known" in problem:
        assert str(caught.value).endswith(
            ".txt[.gz], .ann[.gz], .a1[.gz], .jsonl[.gz], .parquet[.gz])"
        )


def test_a_bucket_is_an_input(bucket):
    for name in ("in/b/病历.txt", "in/a.jsonl", "in/.hidden/x.txt", "other.txt"):
        storage.replace(f"{bucket}/{name}", b"x")
    (a, b) = find([f"{bucket}/in/"]).files
    assert (a.stored.path, b.stored.path) == (f"{bucket}/in/a.jsonl", f"{bucket}/in/b/病历.txt")
    assert b.name.startswith("b%2F%E7%97%85%E5%8E%86.txt-")
    assert find([f"{bucket}/in/**/*.txt"]).files == [b]
    assert digest(b.stored.path) is None


# ---------------------------------------------------------------------------------------- changes


def test_a_file_that_was_only_touched_is_unchanged_and_another_content_is_not(tmp_path):
    path = files(tmp_path, "a.txt") / "a.txt"
    before = known_file(storage.stat(str(path)))
    check_unchanged_there(before)
    os.utime(path, (1, 1))
    assert storage.stat(str(path)).tag != before.tag
    check_unchanged_there(before)
    with pytest.raises(ConfigError, match="changed since its units were planned"):
        check_unchanged_there(before.model_copy(update={"sha256": None}))
    for text in ("b.txt", "longer than before"):
        path.write_text(text)
        os.utime(path, (2, 2))
        with pytest.raises(ConfigError, match=rf"^{path}: changed since.*another --output$"):
            check_unchanged_there(before)


def test_an_object_of_a_bucket_is_known_by_its_tag(bucket):
    path = f"{bucket}/a.txt"
    storage.replace(path, b"one")
    before = known_file(storage.stat(path))
    storage.replace(path, b"one")
    check_unchanged_there(before)
    storage.replace(path, b"two")
    with pytest.raises(ConfigError, match=r"^s3://bucket/a\.txt: changed since"):
        check_unchanged_there(before)
