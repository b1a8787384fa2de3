"""What the manifest says besides sums: what a build of all expected documents would hold."""

from __future__ import annotations

import pytest

from taiyi_ray.instruct.instruction import Mix
from taiyi_ray.instruct.manifest import _unexpected
from taiyi_ray.instruct.plan import Build, Part

MIX = Mix(rate=1.0, ask="mixed", negatives=1.0, wordings=(1,), first=0.5, characters=6000)


@pytest.mark.parametrize(
    ("expected", "limit", "told"),
    [
        (1001, None, ["bc5cdr/train has 1,000 of 1,001"]),
        (1000, None, []),
        (None, None, []),  # nobody has counted
        (1001, 1000, []),  # the user wanted fewer
    ],
)
def test_a_split_with_other_than_the_expected_documents_is_told_once(
    expected: int | None, limit: int | None, told: list[str]
) -> None:
    parts = [
        Part(
            name=f"{folder}/bc5cdr/train",
            dataset="bc5cdr",
            split="train",
            holds="dev" if folder == "dev" else "train",
            dev_share=0.02,
            expected=expected,
            mixes={"ner": MIX},
            options={},
            units=[(0, 499), (500, 999)],
        )
        for folder in ("stage1", "dev")
    ]
    build = Build(
        identity={"settings": {"limit": limit}},
        inputs={},
        unchecked=[],
        held_out="",
        trained="",
        parts=parts,
    )
    assert _unexpected(build) == told
