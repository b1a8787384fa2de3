"""Files are found by their names below a data root, in folders and inside archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from taiyi_ray import catalogue
from taiyi_ray.catalogue.files import DataRoot
from taiyi_ray.errors import ConfigError
from tests.catalogue.made import ABSTRACT, VALUES, corpus, entry, layout, tarred, zipped


def documents(made: catalogue.Entry, root: Path) -> list[tuple[str, str | None]]:
    return [(d.source, d.document_id) for d in catalogue.load(made, "train", data_root=root)]


def test_a_pattern_finds_files_in_order(tmp_path: Path) -> None:
    root = DataRoot(corpus(tmp_path, {"b/x.txt": "", "a/c/x.txt": "", "a/y.txt": "", "x.txt": ""}))
    assert root.matching("**/x.txt") == ("a/c/x.txt", "b/x.txt", "x.txt")
    assert root.matching("a/*.txt") == ("a/y.txt",)
    assert root.matching("a/[xyz].txt") == ("a/y.txt",)


def test_the_layout_of_which_most_splits_are_there_is_read(tmp_path: Path) -> None:
    both = [*layout(train=["official.txt"]), *VALUES["layouts"]]
    root = corpus(tmp_path, {"made/train.txt": ABSTRACT, "made/test.txt": ABSTRACT})
    assert catalogue.present(entry(layouts=both), root) == ("train", "test")
    corpus(root, {"official.txt": ABSTRACT})
    assert documents(entry(layouts=both), root) == [("made/train.txt", "1")]
    (root / "made/test.txt").unlink()
    assert documents(entry(layouts=both), root) == [("official.txt", "1")]
    corpus(root, {"made/test.txt": ABSTRACT})
    (root / "made/train.txt").unlink()
    assert catalogue.present(entry(layouts=both), root) == ("train", "test")


def test_a_copy_of_a_file_is_refused_since_each_document_would_come_twice(tmp_path: Path) -> None:
    root = corpus(tmp_path, {"made/train.txt": ABSTRACT, "b/made/train.txt.gz": b""})
    with pytest.raises(ConfigError) as caught:
        documents(entry(layouts=layout(train=["**/train.txt*"])), root)
    assert str(caught.value) == (
        "made: b/made/train.txt.gz and made/train.txt are the same file twice; take one away, or "
        "name a folder that holds one of them as --data-root"
    )


def test_a_data_root_that_is_no_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--data-root .*: no such folder"):
        catalogue.present(entry(), tmp_path / "absent")


@pytest.mark.parametrize(("name", "packed"), [("m.zip", zipped), ("m.tar.gz", tarred)])
def test_members_of_archives_are_read_and_those_beside_them(tmp_path, name, packed) -> None:
    members = {"in/a.ann": "T1\tDrug 0 7\tAspirin\n", "in/a.txt": "Aspirin eased pain.", "x.md": ""}
    root = corpus(tmp_path, {name: packed(members)})
    made = entry(format="brat", layouts=layout(train=[{"archive": name, "members": ["in/*.ann"]}]))
    (document,) = catalogue.load(made, "train", data_root=root)
    assert (document.source, document.document_id) == (f"{name}/in/a.ann", "a")
    assert [m.text for m in document.gold.mentions] == ["Aspirin"]


def test_a_member_that_is_missing_is_one_line(tmp_path: Path) -> None:
    root = corpus(tmp_path, {"m.zip": zipped({"a.txt": ABSTRACT})})
    made = entry(layouts=layout(train=[{"archive": "m.zip", "members": ["b/*.txt"]}]))
    with pytest.raises(
        ConfigError, match=r"made: m\.zip has no member 'b/\*\.txt'; get it anew at"
    ):
        documents(made, root)


def test_what_is_no_archive_or_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    whole = tarred({"a.txt": ABSTRACT * 200})
    root = corpus(tmp_path, {"m.zip": "no archive", "m.tar.gz": whole[: len(whole) // 2]})
    for name in ("m.zip", "m.tar.gz"):
        made = entry(layouts=layout(train=[{"archive": name, "members": ["a.txt"]}]))
        with pytest.raises(ConfigError, match=f"made: {name}: is damaged, or no zip or tar"):
            documents(made, root)


def test_a_bucket_is_a_data_root_too(bucket: str) -> None:
    from taiyi_ray import storage

    storage.put_if_absent(f"{bucket}/corpora/made/train.txt", ABSTRACT.encode())
    packed = zipped({"in/b.txt": ABSTRACT})
    storage.put_if_absent(f"{bucket}/corpora/m.zip", packed)
    root = DataRoot(f"{bucket}/corpora")
    assert catalogue.present(entry(), root) == ("train",)
    (document,) = catalogue.load(entry(), "train", data_root=root)
    assert document.source == "made/train.txt"
    made = entry(layouts=layout(train=[{"archive": "m.zip", "members": ["in/*"]}]))
    (document,) = catalogue.load(made, "train", data_root=root)
    assert document.source == "m.zip/in/b.txt"
