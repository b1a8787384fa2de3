"""Places: whole objects, one winner, complete listings; locally and on S3."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tenacity import wait_none

from taiyi_ray import storage
from taiyi_ray.errors import StorageError, StorageGone
from tests.faults import FAULTS, FaultyProxy

SIZE = 300_000


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place to write: a folder, a bucket."""
    return str(request.getfixturevalue("bucket")) if request.param == "s3" else str(tmp_path)


def paths(place: str) -> list[str]:
    return [stored.path.removeprefix(place) for stored in storage.walk(place)]


# --------------------------------------------------------------------------------- in all places


def test_of_many_writers_one_wins_and_its_object_is_whole(place: str) -> None:
    path = storage.join(place, "a", "b.bin")
    together = threading.Barrier(8)

    def put(number: int) -> bool:
        together.wait()
        return storage.put_if_absent(path, bytes([number]) * SIZE)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, range(8)))
    assert sorted(won) == [False] * 7 + [True]
    assert storage.read(path) == bytes([won.index(True)]) * SIZE
    assert paths(place) == ["/a/b.bin"]


def test_replace_writes_and_overwrites(place: str) -> None:
    path = storage.join(place, "run.json")
    storage.replace(path, b"one")
    storage.replace(path, b"two")
    assert not storage.put_if_absent(path, b"three")
    assert storage.read(path) == b"two"
    assert paths(place) == ["/run.json"]


def test_a_put_of_the_same_data_has_done_what_it_should(place: str) -> None:
    path = storage.join(place, "x")
    assert storage.put_if_absent(path, b"one")
    assert storage.put_if_absent(path, b"one")
    assert not storage.put_if_absent(path, b"two")


def test_replace_with_a_tag_takes_only_the_place_of_what_was_seen(place: str) -> None:
    path = storage.join(place, "x")
    storage.replace(path, b"one")
    seen = storage.stat(path).tag
    assert storage.replace(path, b"two", tag=seen)
    assert not storage.replace(path, b"three", tag=seen)
    assert storage.read(path) == b"two"
    assert storage.replace(path, b"four", tag=next(storage.walk(place)).tag)
    assert storage.read(path) == b"four"


def test_walk_is_sorted_recursive_and_never_stale(place: str) -> None:
    assert paths(place) == []
    for name in ("b/2", "病历 1%2F.txt", "a", "b/10", "B"):
        storage.replace(storage.join(place, *name.split("/")), name.encode())
    expected = ["/B", "/a", "/b/10", "/b/2", "/病历 1%2F.txt"]
    assert paths(place) == expected
    storage.replace(storage.join(place, "b", "1"), b"")
    assert paths(place) == sorted([*expected, "/b/1"])


def test_what_walk_says_can_be_read_and_statted(place: str) -> None:
    storage.replace(storage.join(place, "deep", "x y.txt"), b"12345")
    (stored,) = storage.walk(place)
    assert stored.size == 5
    assert storage.stat(stored.path) == stored
    assert storage.read(stored.path) == b"12345"
    with storage.open_read(stored.path) as file:
        assert file.read() == b"12345"


def test_the_tag_changes_with_the_content(place: str) -> None:
    path = storage.join(place, "x")
    storage.replace(path, b"one")
    before = storage.stat(path)
    storage.replace(path, b"two")
    assert storage.stat(path).tag != before.tag
    assert storage.stat(path).tag == storage.stat(path).tag


def test_glob(place: str) -> None:
    for name in ("a.txt", "b/c.txt", "b/d.xml", "b/e/f.txt"):
        storage.replace(f"{place}/{name}", b"x")

    def found(pattern: str) -> list[str]:
        listed = list(storage.glob(place, pattern))
        assert listed == [storage.stat(stored.path) for stored in listed]
        return [stored.path.removeprefix(f"{place}/") for stored in listed]

    assert found("*.txt") == ["a.txt"]
    assert found("b/*.txt") == ["b/c.txt"]
    assert found("b/*") == ["b/c.txt", "b/d.xml"]
    assert found("**/*.txt") == ["a.txt", "b/c.txt", "b/e/f.txt"]
    assert found("*.gz") == []


def test_what_is_there_and_what_is_not(place: str) -> None:
    storage.replace(f"{place}/folder/file", b"")
    assert [storage.exists(f"{place}/{name}") for name in ("folder", "folder/file", "no")] == [
        True,
        True,
        False,
    ]
    assert [storage.is_folder(f"{place}/{name}") for name in ("folder", "folder/file", "no")] == [
        True,
        False,
        False,
    ]
    assert storage.read(f"{place}/no") is None
    for access in (storage.stat, storage.open_read):
        with pytest.raises(StorageError, match=f"^{place}/no: cannot be read"):
            access(f"{place}/no")


# ---------------------------------------------------------------------------------------- locally


def test_of_many_processes_one_wins(tmp_path: Path) -> None:
    script = (
        "import sys; from taiyi_ray import storage; sys.stdin.read(); "
        "print(storage.put_if_absent(sys.argv[1], sys.argv[2].encode() * 1000))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "x", str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in started:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    won = [process.communicate()[0].strip() for process in started]
    assert sorted(won) == ["False", "False", "False", "True"]
    assert (tmp_path / "x").read_text() == str(won.index("True")) * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_file_that_is_being_written_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def link(source: Path, target: str) -> None:
        seen.append(len(list(tmp_path.iterdir())))
        assert paths(str(tmp_path)) == []
        assert storage.read(target) is None
        source.rename(target)

    monkeypatch.setattr(storage.os, "link", link)
    assert storage.put_if_absent(str(tmp_path / "x"), b"whole")
    assert seen == [1]
    assert paths(str(tmp_path)) == ["/x"]


@pytest.mark.parametrize("write", [storage.put_if_absent, storage.replace])
def test_a_full_disk_leaves_nothing_behind(
    write: Callable[[str, bytes], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", fail)
    with pytest.raises(StorageError, match=r"/x: cannot be written \(No space left on device\)$"):
        write(str(tmp_path / "x"), b"data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [storage.put_if_absent, storage.replace])
def test_a_place_below_a_file_cannot_be_written(
    write: Callable[[str, bytes], object], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    path = str(tmp_path / "file" / "x")
    with pytest.raises(StorageError) as caught:
        write(path, b"data")
    assert str(caught.value).startswith(f"{path}: cannot be written (")
    with pytest.raises(StorageError, match="cannot be read"):
        storage.read(path)


def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.txt").write_text("12345")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file.txt").symlink_to(tmp_path / "real" / "x.txt")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "in" / "folder2").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path / "in")
    place = str(tmp_path / "in")
    assert paths(place) == ["/file.txt", "/folder/x.txt"]
    for stored in storage.walk(place):
        assert stored == storage.stat(stored.path)
        assert stored.size == 5


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(StorageError, match=r"/x\.txt: cannot be read"):
        list(storage.walk(str(tmp_path)))


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(storage.os, "scandir", refuse)
    with pytest.raises(StorageError, match=r"cannot be listed \(Permission denied\)"):
        list(storage.walk(str(tmp_path)))


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("/a/b", "/a/b"),
        ("/a/../b//c/", "/b/c"),
        ("//a", "/a"),
        ("./x", "{cwd}/x"),
        ("file:///a/b/", "/a/b"),
        ("local:///a/../b", "/b"),
        ("FILE:///a%20b", "/a%20b"),
        ("/a::b#c?d", "/a::b#c?d"),
        ("/in/s3://x", "/in/s3:/x"),
        ("s3://b", "s3://b"),
        ("s3://b/", "s3://b"),
        ("s3a://b/c/", "s3://b/c"),
        ("S3://b/c", "s3://b/c"),
        ("s3://b//c//", "s3://b/c"),
        ("s3://b/../c", "s3://b/../c"),  # to S3 these are names like others
        ("s3://b/c//d", "s3://b/c//d"),
    ],
)
def test_a_place_has_one_address_however_it_is_spelled(given: str, full: str) -> None:
    assert storage.absolute(given) == full.format(cwd=Path.cwd())
    assert storage.absolute(storage.absolute(given)) == storage.absolute(given)


def test_what_is_below_a_place_begins_with_its_address(bucket: str, tmp_path: Path) -> None:
    for given in (f"local://{tmp_path}/x/", f"file://{tmp_path}/y", f"s3a://{bucket[5:]}//z/"):
        place = storage.absolute(given)
        storage.replace(storage.join(place, "a"), b"x")
        assert [stored.path for stored in storage.walk(place)] == [f"{place}/a"]
        assert [stored.path for stored in storage.glob(place, "*")] == [f"{place}/a"]
        assert storage.is_folder(place)


def test_links_to_folders_are_other_ways_to_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "b").symlink_to(tmp_path / "real" / "a")
    real = f"{tmp_path}/real"
    assert storage.real(f"{tmp_path}/link/a") == f"{real}/a"
    assert storage.real(f"{tmp_path}/link/b") == f"{real}/b"  # a name that somebody gave
    assert storage.is_within(f"{tmp_path}/link", real)
    assert storage.is_within(f"{real}/new", f"{tmp_path}/link")
    assert not storage.is_within(f"{real}2", real)
    assert storage.is_within("s3://b/c/d", "s3://b/c")
    assert not storage.is_within("s3://b/cd", "s3://b/c")


NAMES = (
    *("a::b.jsonl", "zip::c.txt", "a#b", "a?b", "[a]*", "a%20b%2F", "~a", "a b ", "s3:", "-o"),
    *("病历\u3000.txt", "é" * 120, "a\\b", "{a}", "a;b&c=d+e"),
)


@pytest.mark.parametrize("name", [*NAMES, "a\nb"])
def test_no_letter_of_a_name_means_anything_else(place: str, name: str) -> None:
    if "\n" in name and place.startswith("s3://"):
        pytest.skip("moto finds no such key")
    folder = storage.join(place, name)
    path = storage.join(folder, name)
    assert storage.put_if_absent(path, b"one")
    assert not storage.put_if_absent(path, b"two")
    assert storage.replace(path, b"three", tag=storage.stat(path).tag)
    assert storage.read(path) == b"three"
    assert storage.is_folder(folder) and storage.exists(path)
    assert paths(place) == [f"/{name}/{name}"]
    assert [stored.path for stored in storage.walk(folder)] == [path]
    assert [stored.path for stored in storage.glob(folder, "*")] == [path]
    assert storage.absolute(path) == path


def test_what_is_no_object_is_passed_over_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "link.txt").symlink_to(tmp_path / "pipe.txt")
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).touch()
    (tmp_path / "good.txt").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/socket.txt")
        for listed in (storage.walk, lambda place, strange: storage.glob(place, "*", strange)):
            strange: list[str] = []
            assert [s.path for s in listed(str(tmp_path), strange)] == [f"{tmp_path}/good.txt"]
            names = [path.removeprefix(f"{tmp_path}/") for path in strange]
            assert names == ["caf\\xe9.txt", "link.txt", "pipe.txt", "socket.txt"]
        for name in ("pipe.txt", "link.txt", "socket.txt"):
            for access in (storage.read, storage.stat, storage.open_read):
                with pytest.raises(StorageError, match=r"cannot be read \(is no regular file\)$"):
                    access(f"{tmp_path}/{name}")


def test_of_many_that_replace_what_they_saw_one_wins(place: str) -> None:
    path = storage.join(place, "x")
    for _ in range(5):
        storage.replace(path, random.randbytes(100))
        seen = storage.stat(path).tag
        together = threading.Barrier(8)

        def replace(number: int, seen: str = seen, together: threading.Barrier = together) -> bool:
            together.wait()
            return storage.replace(path, bytes([number]) * SIZE, tag=seen)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(replace, range(8)))
        assert sorted(won) == [False] * 7 + [True]
        assert storage.read(path) == bytes([won.index(True)]) * SIZE
    assert paths(place) == ["/x"]


# ------------------------------------------------------------------------------ places elsewhere


def test_an_unknown_kind_of_place() -> None:
    with pytest.raises(StorageError, match=r"^gopher://x: there is no such kind of address"):
        storage.read("gopher://x")


def test_what_others_write_to_a_bucket_is_seen_at_once(bucket: str) -> None:
    import s3fs

    storage.replace(f"{bucket}/a/x", b"old")
    assert paths(bucket) == ["/a/x"]
    other = s3fs.S3FileSystem(skip_instance_cache=True)
    other.pipe_file("bucket/a/x", b"newer")
    other.pipe_file("bucket/a/y", b"")
    assert storage.stat(f"{bucket}/a/x").size == 5
    with storage.open_read(f"{bucket}/a/x") as file:
        assert file.read() == b"newer"
    assert storage.exists(f"{bucket}/a/y")
    listed = [stored.path for stored in storage.glob(f"{bucket}/a", "*")]
    assert listed == [f"{bucket}/a/x", f"{bucket}/a/y"]


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    with pytest.raises(StorageError, match=r"^s3://nowhere/x: cannot be written \(.*bucket"):
        storage.put_if_absent("s3://nowhere/x", b"data")


# ------------------------------------------------------------------------------ S3 with faults


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries, and no tries of botocore's own."""
    monkeypatch.setattr(storage._tried.retry, "wait", wait_none())  # type: ignore[attr-defined]
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


DATA = bytes(range(256)) * 4000


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "stalled"])
def test_what_breaks_four_times_is_done_in_the_end(
    hasty: None, faulty: FaultyProxy, faulty_bucket: str, fault: str
) -> None:
    path = f"{faulty_bucket}/a/x"
    met = -1

    def inflict(method: str) -> None:
        nonlocal met
        assert faulty.done[fault] > met
        met = faulty.done[fault]
        faulty.heal()
        faulty.inflict(fault, method, times=4)

    inflict("PUT")
    assert storage.put_if_absent(path, DATA)
    inflict("PUT")
    assert not storage.put_if_absent(path, b"other")
    inflict("GET")
    assert storage.read(path) == DATA
    inflict("HEAD")
    assert storage.stat(path).size == len(DATA)
    inflict("GET")
    assert paths(faulty_bucket) == ["/a/x"]
    tag = storage.stat(path).tag
    inflict("PUT")
    assert storage.replace(path, DATA[:-1], tag=tag)
    inflict("PUT")
    assert not storage.replace(path, b"other", tag=tag)
    inflict("GET")
    with storage.open_read(path) as file:
        assert file.read(100) == DATA[:100]
        assert file.read() == DATA[100:-1]
    inflict("GET")
    assert [stored.path for stored in storage.glob(f"{faulty_bucket}/a", "*")] == [path]
    assert storage.exists(path)
    assert storage.is_folder(f"{faulty_bucket}/a")


def test_the_usual_settings_bear_a_busy_and_a_treacherous_store(
    faulty: FaultyProxy, faulty_bucket: str
) -> None:
    faulty.inflict("busy", "PUT")
    faulty.inflict("lost", "PUT")
    assert storage.put_if_absent(f"{faulty_bucket}/x", b"mine")
    assert storage.read(f"{faulty_bucket}/x") == b"mine"
    assert faulty.requests["PUT", "/bucket/x"] == 3


def test_a_large_object_is_read_in_blocks_each_tried_again(
    hasty: None, faulty: FaultyProxy, faulty_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(storage._S3, "default_block_size", 1 << 17)
    data = random.Random(3).randbytes(3 << 20)
    path = f"{faulty_bucket}/x"
    storage.replace(path, data)
    faulty.inflict_at_random(seed=5, share=0.4)
    with storage.open_read(path) as file:
        read = bytearray()
        while piece := file.read(50_000):
            read += piece
    assert read == data
    assert min(faulty.done[f] for f in ("busy", "reset", "lost", "truncated", "slow")) > 0
    # A broken block costs that block, not the object.
    assert faulty.sent["/bucket/x"] < 2 * len(data)


def test_a_body_that_stalls_is_asked_for_again(
    hasty: None, faulty: FaultyProxy, faulty_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = storage._S3["config_kwargs"]
    monkeypatch.setitem(storage._S3, "config_kwargs", patient | {"read_timeout": 1})
    path = f"{faulty_bucket}/x"
    storage.replace(path, DATA)
    faulty.inflict("stalled", "GET")
    assert storage.read(path) == DATA
    assert faulty.requests["GET", "/bucket/x"] == 2


def test_an_object_that_is_replaced_while_it_is_read_is_no_mixture(
    hasty: None, faulty: FaultyProxy, faulty_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(storage._S3, "default_block_size", 1 << 17)
    path = f"{faulty_bucket}/x"
    storage.replace(path, DATA)
    with storage.open_read(path) as file:
        file.read(10)
        storage.replace(path, DATA[::-1])
        with pytest.raises(StorageError, match=f"^{path}: cannot be read"):
            file.read()


def test_an_object_that_is_replaced_while_it_is_read_is_read_again(
    hasty: None, faulty: FaultyProxy, faulty_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(storage._S3, "default_block_size", 1 << 17)
    path = f"{faulty_bucket}/x"
    storage.replace(path, DATA)
    taken = []

    def take(file: BinaryIO) -> bytes:
        begin = file.read(10)
        taken.append(begin)
        if len(taken) < 3:
            storage.replace(path, bytes([len(taken)]) * len(DATA))
        return begin + file.read()

    assert storage.read_with(path, take) == b"\2" * len(DATA)
    assert taken == [DATA[:10], b"\1" * 10, b"\2" * 10]


def test_a_store_that_is_down_is_said_to_be_so(
    hasty: None, faulty: FaultyProxy, faulty_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"{faulty_bucket}/x"
    storage.replace(path, b"x")
    faulty.down = True
    for access in (
        lambda: storage.read(path),
        lambda: storage.stat(path),
        lambda: list(storage.walk(faulty_bucket)),
        lambda: storage.put_if_absent(path, b"y"),
        lambda: storage.exists(path),
    ):
        with pytest.raises(StorageGone, match=r"cannot be .*; tried 8 times$"):
            access()
    assert "s3://bucket/x: could not be written (" in caplog.text
    assert "trying again in" in caplog.text
    assert "testing" not in caplog.text  # the credentials
    faulty.down = False
    assert storage.read(path) == b"x"


def test_a_server_that_is_not_there_is_named(
    hasty: None, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageGone, match=r"^s3://bucket/x: cannot be read \(.*127\.0\.0\.1:9"):
        storage.read("s3://bucket/x")


def test_what_will_not_pass_is_not_tried_again(faulty: FaultyProxy, faulty_bucket: str) -> None:
    path = f"{faulty_bucket}/x"
    assert storage.put_if_absent(path, b"one")
    assert not storage.put_if_absent(path, b"two")
    assert faulty.requests["PUT", "/bucket/x"] == 2
    with pytest.raises(StorageError) as caught:
        storage.put_if_absent("s3://nowhere/x", b"data")
    assert not isinstance(caught.value, StorageGone)
    assert faulty.requests["PUT", "/nowhere/x"] == 1


def test_a_file_is_written_whole_or_not_at_all(place):
    path = f"{place}/deep/a.bin"
    with storage.written(path) as file:
        file.write(b"one")
        assert storage.read(path) is None
    assert storage.read(path) == b"one"
    with pytest.raises(KeyboardInterrupt), storage.written(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert storage.read(path) == b"one"
    assert [stored.path for stored in storage.walk(place)] == [path]


def _written(path: str, data: bytes) -> None:
    with storage.written(path) as file:
        file.write(data)


@pytest.mark.parametrize("write", [storage.put_if_absent, storage.replace, _written])
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_new_file_is_said_by_the_umask_and_of_an_old_one_stays(
    write: Callable[[str, bytes], object], umask: int, mode: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        write(str(tmp_path / "new"), b"data")
        (tmp_path / "old").touch(0o600)
        (tmp_path / "old").chmod(0o640)
        if write is not storage.put_if_absent:
            write(str(tmp_path / "old"), b"data")
        assert storage.put_if_absent(str(tmp_path / "private"), b"data", private=True)
        storage.private_folder(str(tmp_path / "deep/folder"))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert (modes["new"], modes["old"], modes["private"]) == (mode, 0o640, 0o600)
    assert (tmp_path / "deep/folder").stat().st_mode & 0o777 == 0o700


_READS = """
import sys
from taiyi_ray import storage
for _ in range(9):
    storage.read_table(sys.argv[1])
"""


def test_a_process_that_has_read_parquet_files_ends_in_peace(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"a": ["x"] * 100, "b": range(100)}), path)
    for _ in range(4):  # more than half were aborted where Arrow's threads had the Python file
        assert subprocess.run([sys.executable, "-c", _READS, path]).returncode == 0


def test_a_table_is_read_with_the_columns_that_are_wanted_and_there(place: str) -> None:
    path = storage.join(place, "a.parquet")
    with storage.written(path) as file:
        pq.write_table(pa.table({"a": ["x"], "b": [1], "c": ["y"]}), file)
    assert storage.read_table(path).to_pylist() == [{"a": "x", "b": 1, "c": "y"}]
    found = storage.read_table(path, ["a", "b", "none"], dictionaries=["a"])
    assert found.to_pylist() == [{"a": "x", "b": 1}]
    assert pa.types.is_dictionary(found["a"].type)


# ------------------------------------------------------------------------------------------ probe


def test_a_probe_leaves_one_small_object_and_finds_it_again(place: str) -> None:
    for _ in range(2):
        storage.probe(f"{place}/out")
        assert paths(place) == (["/out/.probe"] if place.startswith("s3") else [])


def test_a_store_that_ignores_conditions_is_refused(
    faulty: FaultyProxy, faulty_bucket: str
) -> None:
    faulty.ignores_conditions = True
    for _ in range(2):
        with pytest.raises(StorageError, match=r"^s3://bucket/out: this store ignores If-None-M"):
            storage.probe(f"{faulty_bucket}/out")


def test_a_probe_bears_faults(hasty: None, faulty: FaultyProxy, faulty_bucket: str) -> None:
    for fault in ("lost", "busy", "reset"):
        faulty.inflict(fault, "PUT", times=2)
    storage.probe(f"{faulty_bucket}/out")
    assert paths(faulty_bucket) == ["/out/.probe"]


def test_a_part_of_an_object(place: str) -> None:
    path = f"{place}/a"
    storage.replace(path, b"0123456789")
    assert storage.read_part(path, 2, 3) == b"234"
    assert storage.read_part(path, 10, 0) == b""
    assert storage.read_part(path, 0, 10) == b"0123456789"
    with pytest.raises(StorageError, match="cannot be read"):
        storage.read_part(f"{place}/none", 0, 1)


def test_what_is_removed_is_gone_and_may_have_been(place: str) -> None:
    path = f"{place}/a"
    storage.replace(path, b"x")
    storage.remove(path)
    assert storage.read(path) is None
    storage.remove(path)


def test_what_is_removed_while_it_is_listed_is_not_there(tmp_path: Path) -> None:
    ends = threading.Event()

    def come_and_go() -> None:
        while not ends.is_set():
            storage.put_if_absent(f"{tmp_path}/a", b"x")
            storage.remove(f"{tmp_path}/a")

    storage.put_if_absent(f"{tmp_path}/b", b"x")
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come_and_go)
        found = Counter(stored.path for _ in range(300) for stored in storage.walk(str(tmp_path)))
        ends.set()
        coming.result()
    assert found[f"{tmp_path}/b"] == 300 and found.keys() <= {f"{tmp_path}/{n}" for n in "ab"}
