"""The input: which files, under which names, and whether they are still the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from taiyi_ray import storage
from taiyi_ray.corpus.plan import Job, Part, put_job
from taiyi_ray.corpus.source import PlannedSource, SourceState
from taiyi_ray.corpus.sources import Corpus, SourceFile, digest, find, source_name
from taiyi_ray.errors import ConfigError, StorageError
from taiyi_ray.formats import FORMATS


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
        endings = [suffix for format_ in FORMATS for suffix in format_.suffixes]
        assert all(f"{ending}[.gz]" in str(caught.value) for ending in endings)


def test_a_bucket_is_an_input(bucket):
    for name in ("in/b/病历.txt", "in/a.jsonl", "in/.hidden/x.txt", "other.txt"):
        storage.replace(f"{bucket}/{name}", b"x")
    (a, b) = find([f"{bucket}/in/"]).files
    assert (a.stored.path, b.stored.path) == (f"{bucket}/in/a.jsonl", f"{bucket}/in/b/病历.txt")
    assert b.name.startswith("b%2F%E7%97%85%E5%8E%86.txt-")
    assert find([f"{bucket}/in/**/*.txt"]).files == [b]
    assert digest(b.stored.path) is None


@pytest.mark.parametrize("first", ["in", "in/deep"])
def test_a_file_of_a_folder_and_of_its_parent_comes_once(tmp_path, first):
    files(tmp_path, "in/a.txt", "in/deep/b.txt")
    other = {"in": "in/deep", "in/deep": "in"}[first]
    corpus = find([f"{tmp_path}/{first}", f"{tmp_path}/{other}"])
    assert sorted(Path(file.stored.path).name for file in corpus.files) == ["a.txt", "b.txt"]
    b = next(file for file in corpus.files if file.stored.path.endswith("b.txt"))
    assert b.name.startswith("deep%2Fb.txt-" if first == "in" else "b.txt-")  # the first input's


def test_one_file_in_many_spellings_comes_once(tmp_path):
    files(tmp_path, "in/a.txt")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    spellings = ["in", "in/", "./in//", "in/../in/a.txt", "in/*.txt", "link", "link/a.txt"]
    given = [f"{scheme}{tmp_path}/{s}" for s in spellings for scheme in ("", "file://", "local://")]
    (file,) = find(given).files
    assert file.stored.path == f"{tmp_path}/in/a.txt"
    for one in given[:15]:
        assert find([one]).files == [file]


def test_one_object_in_many_spellings_comes_once(bucket):
    storage.replace(f"{bucket}/in/a.txt", b"x")
    given = ["s3://bucket/in", "s3a://bucket/in/", "S3://bucket//in", "s3a://bucket/in/a.txt"]
    (file,) = find([*given, "s3a://bucket/in/*.txt"]).files
    assert file.stored.path == f"{bucket}/in/a.txt"
    for one in given[:3]:
        assert find([one]).files == [file]


@pytest.mark.parametrize(
    "name", ["a::b.jsonl", "x?#[y]*.txt", "%41 .txt", "a\nb.txt", "~.txt", "l.txt" * 50]
)
def test_any_legal_name_is_a_source(tmp_path, monkeypatch, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / name).write_text("x")
    (file,) = find([str(folder)]).files
    assert file.stored.path == f"{folder}/{name}"
    assert find([str(folder / name)]).files[0].stored == file.stored
    monkeypatch.chdir(folder)  # what the folder is called is no part of a pattern
    assert find(["*"]).files == find(["."]).files == [file]


def test_a_name_that_is_no_utf8_and_what_is_no_file_are_passed_over_with_a_note(tmp_path):
    files(tmp_path, "good.txt")
    for n in range(3):
        (tmp_path / os.fsdecode(b"caf\xe9%d.txt" % n)).touch()
    os.mkfifo(tmp_path / "pipe.jsonl")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / ".hidden.txt")
    for given in (str(tmp_path), f"{tmp_path}/*"):
        corpus = find([given])
        assert [Path(file.stored.path).name for file in corpus.files] == ["good.txt"]
        assert corpus.notes() == [
            "passed over what is not a regular file, or has a name that is not UTF-8: "
            + ", ".join(repr(f"{tmp_path}/caf\\xe9{n}.txt") for n in range(3))
            + " and 1 more"
        ]
    with pytest.raises(StorageError, match=r"pipe\.jsonl: cannot be read \(is no regular file\)$"):
        find([f"{tmp_path}/pipe.jsonl"])


# -------------------------------------------------------------------------- what we wrote ourselves


def an_output(place: str) -> None:
    """What a job leaves, as far as it could pass for input."""
    put_job(place, Job(fingerprint="f", identity={}, config={}, versions={}, part=Part(sources=[])))
    for name in ("run.json", "runs/1.json", "plan/1.json", "annotations/a.txt-0/0-1.parquet"):
        storage.replace(f"{place}/{name}", b"{}")


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path):
    return request.getfixturevalue("bucket") if request.param == "s3" else str(tmp_path)


def names(corpus: Corpus, place: str) -> list[str]:
    return [file.stored.path.removeprefix(f"{place}/") for file in corpus.files]


@pytest.mark.parametrize("given", ["in", "in/**"])
def test_outputs_inside_the_input_are_left_out_with_a_note(place, given):
    storage.replace(f"{place}/in/a.txt", b"x")
    storage.replace(f"{place}/in/deep/annotations/b.txt", b"x")  # only called like it
    storage.replace(f"{place}/in/job.json", b'{"format": "BioC"}')
    before = find([f"{place}/{given}"], f"{place}/in/out")
    assert names(before, place) == ["in/a.txt", "in/deep/annotations/b.txt", "in/job.json"]
    assert before.notes() == []
    for out in ("in/out", "in/deep/other"):
        an_output(f"{place}/{out}")
    storage.replace(f"{place}/in/out/exported/c.txt", b"x")
    for output in (f"{place}/in/out", f"{place}/elsewhere", None):
        corpus = find([f"{place}/{given}"], output)
        assert corpus.files == before.files
        assert sorted(corpus.notes()) == [
            f"left out {place}/in/{out}, an output of taiyi-ray" for out in ("deep/other", "out")
        ]


def test_an_output_by_a_link_or_another_spelling_is_left_out(tmp_path):
    files(tmp_path, "in/a.txt")
    (tmp_path / "in" / "results").symlink_to(tmp_path / "out")
    for output in (f"{tmp_path}/out", f"file://{tmp_path}/in/results/", f"{tmp_path}/x/../out"):
        an_output(f"{tmp_path}/out")
        assert found_with(output, tmp_path / "in") == ["a.txt"]
        (tmp_path / "out" / "job.json").unlink()  # not even that is needed for the job's own
        assert found_with(output, tmp_path / "in") == ["a.txt"]


def found_with(output: str, *inputs: Path) -> list[str]:
    return [Path(f.stored.path).name for f in find([str(i) for i in inputs], output).files]


def test_of_an_input_that_is_the_output_only_what_the_job_writes_is_left_out(tmp_path):
    files(tmp_path, "a.txt", "job.jsonl", "deep/run.json")
    an_output(str(tmp_path))
    for output in (str(tmp_path), str(tmp_path / "elsewhere")):
        assert found_with(output, tmp_path) == ["a.txt", "run.json", "job.jsonl"]
    assert found_with(str(tmp_path), tmp_path / "deep") == ["run.json"]
    assert found_with(str(tmp_path), tmp_path / "a.txt") == ["a.txt"]


def test_rows_of_another_output_are_input_when_they_are_named(tmp_path):
    an_output(f"{tmp_path}/out")
    assert found_with(f"{tmp_path}/new", tmp_path / "out" / "annotations") == ["0-1.parquet"]
    for output, given in ((f"{tmp_path}/out", "out/annotations"), (f"{tmp_path}/new", "out")):
        with pytest.raises(ConfigError) as caught:
            find([f"{tmp_path}/{given}"], output)
        assert str(caught.value) == (
            f"{tmp_path}/{given}: holds no file of a known format besides what taiyi-ray wrote in "
            f"{tmp_path}/out; to annotate the rows of another output, name its folder annotations"
        )


# ---------------------------------------------------------------------------------------- changes


def check_unchanged(before: SourceState) -> None:
    """Look a file up again that was planned in this state."""
    planned = PlannedSource(**dict(before), name="a", format="txt", complete=True, units=[])
    SourceFile.of(planned).check_unchanged(planned)


def test_a_file_that_was_only_touched_is_unchanged_and_another_content_is_not(tmp_path):
    path = files(tmp_path, "a.txt") / "a.txt"
    before = SourceFile("a", storage.stat(str(path))).state()
    check_unchanged(before)
    os.utime(path, (1, 1))
    assert storage.stat(str(path)).tag != before.tag
    check_unchanged(before)
    with pytest.raises(ConfigError, match="changed since its units were planned"):
        check_unchanged(before.model_copy(update={"sha256": None}))
    for text in ("b.txt", "longer than before"):
        path.write_text(text)
        os.utime(path, (2, 2))
        with pytest.raises(ConfigError, match=rf"^{path}: changed since.*another --output$"):
            check_unchanged(before)


def test_an_object_of_a_bucket_is_known_by_its_tag(bucket):
    path = f"{bucket}/a.txt"
    storage.replace(path, b"one")
    before = SourceFile("a", storage.stat(path)).state()
    storage.replace(path, b"one")
    check_unchanged(before)
    storage.replace(path, b"two")
    with pytest.raises(ConfigError, match=r"^s3://bucket/a\.txt: changed since"):
        check_unchanged(before)


def test_a_source_is_known_with_the_files_that_belong_to_it(place):
    for name in ("in/a.ann", "in/a.txt", "in/b.a1", "in/b.a2", "in/b.txt.gz", "in/c.txt"):
        storage.replace(f"{place}/{name}", name.encode())
    for given in (["in"], ["in/*"], ["in/a.ann", "in/b.a1"]):
        found = find([f"{place}/{one}" for one in given]).files
        besides = [[Path(stored.path).name for stored in file.beside] for file in found[:2]]
        assert besides == [["a.txt"], ["b.a2"]]  # b.a1 itself is not compressed
    file = found[0]
    assert file.beside == (storage.stat(f"{place}/in/a.txt"),)
    known = file.state()
    check_unchanged(known)
    storage.replace(f"{place}/in/a.txt", b"another")
    with pytest.raises(ConfigError, match=rf"^{place}/in/a\.txt: changed since its units were"):
        check_unchanged(known)
    check_unchanged(known.model_copy(update={"beside": None}))  # of an older plan


def test_a_file_that_comes_or_goes_beside_a_source_is_a_change(tmp_path):
    files(tmp_path, "a.a1", "a.txt")
    (file,) = find([str(tmp_path)]).files
    known = file.state()
    files(tmp_path, "a.a2")
    with pytest.raises(
        ConfigError, match=rf"^{tmp_path}/a\.a2: was added after the units of .*/a\.a1,"
    ):
        check_unchanged(known)
    (tmp_path / "a.a2").unlink()
    (tmp_path / "a.txt").unlink()
    with pytest.raises(
        ConfigError, match=rf"^{tmp_path}/a\.txt: was removed after the units of .*/a\.a1,"
    ):
        check_unchanged(known)


# -------------------------------------------------------------------------------------------- MD5


@pytest.mark.parametrize("place", ["folder", "file", "pattern"])
@pytest.mark.parametrize("told", ["MD5(a.txt)= {}\n", "{}  a.txt\n", "{}"])
def test_a_file_is_compared_with_the_md5_beside_it(tmp_path, place, told):
    path = files(tmp_path, "a.txt", "b.txt") / "a.txt"
    Path(f"{path}.md5").write_text(told.format(hashlib.md5(b"a.txt").hexdigest()))
    given = {"folder": tmp_path, "file": path, "pattern": tmp_path / "*.txt"}[place]
    corpus = find([str(given)])
    assert corpus.passed_over == 0
    assert len(corpus.files[0].record_sizes().sizes) == 1
    path.write_text("A.txt")
    with pytest.raises(ConfigError, match=f"^{path}: is damaged or another file: its MD5 is "):
        find([str(given)]).files[0].record_sizes()
    Path(f"{path}.md5").write_text("<html>Not found</html>")
    with pytest.raises(ConfigError, match=f"^{path}.md5: holds no MD5 digest"):
        find([str(given)]).files[0].record_sizes()


def test_an_object_of_a_bucket_is_compared_with_the_md5_beside_it(bucket):
    storage.put_if_absent(f"{bucket}/a.txt", b"text")
    storage.put_if_absent(f"{bucket}/a.txt.md5", f"MD5(a.txt)= {'0' * 32}".encode())
    (file,) = find([bucket]).files
    with pytest.raises(ConfigError, match=f"and {'0' * 32} in the .md5 beside it"):
        file.record_sizes()
