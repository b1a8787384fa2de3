"""Rows: what shares tokens, what fits, and what is learned token by token."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.train.packing import Block, TokenRecord, blocks, packed, tensors
from tests.train.small import token_records


def record(ids: list[int], start: int, *, group: int = 0, kind: int = 0) -> TokenRecord:
    return TokenRecord(np.array(ids), ((start, len(ids)),), kind, group)


def test_questions_on_one_document_share_it_and_no_more() -> None:
    first, second = record([1, 2, 3, 4, 5, 9], 5), record([1, 2, 3, 7, 8, 8], 5)
    (block,) = blocks([first, second], 100)
    assert (block.prefix, block.branches, block.tokens) == (3, (3, 3), 9)
    alone = blocks([first, second], 100, share=False)
    assert [(b.prefix, b.tokens) for b in alone] == [(0, 6), (0, 6)]


def test_the_token_before_an_answer_is_never_shared() -> None:
    one = record([1, 2, 3, 4, 5], 4)
    (block,) = blocks([one, record([1, 2, 3, 4, 6], 4)], 100)
    assert block.prefix == 3


def test_a_record_that_begins_otherwise_does_not_spoil_what_the_others_share() -> None:
    many = [record([1, *range(2, 30), n, 9], 30) for n in (40, 41, 42)]
    other = record([1, 77, 78, 9], 3)
    made = blocks([other, *many], 100)
    assert sorted((b.prefix, len(b.records)) for b in made) == [(0, 1), (29, 3)]


def test_a_block_is_no_longer_than_a_row() -> None:
    many = [record([*range(20), n, 9], 21) for n in range(30, 40)]
    made = blocks(many, 30)
    assert all(b.tokens <= 30 for b in made)
    assert sum(len(b.records) for b in made) == 10


def test_a_row_is_written_out_token_by_token() -> None:
    shared = Block(2, (record([1, 2, 3, 4, 5], 4, kind=1), record([1, 2, 6, 7], 3)))
    turns = TokenRecord(np.array([8, 9, 10, 11, 12]), ((1, 2), (4, 5)), 2, 1)
    row = tensors((shared, Block(0, (turns,))))
    assert row.ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert row.positions.tolist() == [0, 1, 2, 3, 4, 2, 3, 0, 1, 2, 3, 4]
    assert row.sources.tolist() == [3, 5, 7, 10]
    assert row.labels.tolist() == [5, 7, 9, 12]
    assert row.kinds.tolist() == [1, 0, 2, 2]
    assert row.layout == ((2, (3, 2)), (0, (5,)))


@given(
    number=st.integers(1, 40),
    workers=st.integers(1, 5),
    seed=st.integers(0, 99),
    share=st.booleans(),
)
def test_every_record_is_in_one_row_of_one_worker(
    number: int, workers: int, seed: int, share: bool
) -> None:
    records = token_records(number, seed=seed)
    made = blocks(records, 64, share=share)
    shares = packed(made, workers, 64)
    there = [id(r) for rows in shares for row in rows for b in row for r in b.records]
    assert sorted(there) == sorted(map(id, records))
    assert all(sum(b.tokens for b in row) <= 64 for rows in shares for row in rows)
    loads = [sum(b.tokens for row in rows for b in row) for rows in shares]
    assert max(loads) - min(loads) <= max(b.tokens for b in made)


def test_rows_are_nearly_full_where_records_are_many() -> None:
    (rows,) = packed(blocks(token_records(144), 256, share=False), 1, 256)
    used = sum(b.tokens for row in rows for b in row)
    assert used / (256 * len(rows)) > 0.95
