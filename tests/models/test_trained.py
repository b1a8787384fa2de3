"""What trained a model: it is known by text and identifier, and written beside what it trained."""

from pathlib import Path

import numpy as np
import pytest

from taiyi_ray.errors import ModelError
from taiyi_ray.models.trained import (
    TRAINED_FILE,
    Trained,
    document_keys,
    trained_on,
    write_trained_on,
)
from taiyi_ray.records import Document, passages

ENGLISH = "Aspirin eased the pain of all patients."
CHINESE = "患者男性六十五岁因反复胸闷气促三年加重一周入院"


def document(text: str) -> Document:
    return Document(None, passages([("text", "en", text)]))


def having(split: str, *texts: str) -> Trained:
    found = [key for text in texts for key in document_keys(document(text), None)]
    return Trained.of({split: np.array(found, np.uint64)})


def test_training_sets_are_known_by_text_and_identifier() -> None:
    splits = {
        name: np.array(document_keys(document(text), pmid), np.uint64)
        for name, text, pmid in (
            ("a/train", ENGLISH, "7"),
            ("b/dev", ENGLISH, None),
            ("c/train", CHINESE, "8"),
        )
    }
    made = Trained.of(splits)
    known = Trained.from_bytes(made.to_bytes())
    assert known.to_bytes() == made.to_bytes()
    assert known.having(document_keys(document(ENGLISH.upper()), None)) == {"a/train", "b/dev"}
    assert known.having(document_keys(document("another text"), "8")) == {"c/train"}
    assert known.having(document_keys(document("another text"), "9")) == set()
    assert Trained.from_bytes(Trained.of({}).to_bytes()).having([1]) == set()


def test_what_earlier_versions_kept_of_training_sets_is_read_as_their_splits_train() -> None:
    older = Trained.of({"a": np.array([7], np.uint64)}).to_bytes()
    assert Trained.from_bytes(older).having([7]) == {"a/train"}


def test_folders_tell_together_what_trained_a_model(tmp_path: Path) -> None:
    first, second = tmp_path / "base", tmp_path / "adapter"
    assert trained_on(str(first), str(second)) is None
    write_trained_on(str(first), having("a/train", ENGLISH))
    write_trained_on(str(second), having("a/train", ENGLISH, CHINESE))
    both = trained_on(str(first), str(second), str(tmp_path / "without"))
    assert both is not None and len(both.keys) == 2
    assert both.having(document_keys(document(CHINESE), None)) == {"a/train"}


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / TRAINED_FILE).write_bytes(b"something else")
    with pytest.raises(ModelError, match=f"{TRAINED_FILE}: is not what training writes there"):
        trained_on(str(tmp_path))
