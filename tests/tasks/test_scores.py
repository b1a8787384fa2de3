"""Scores: which tokens of an answer count for a piece of it, and what they amount to."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.tasks import TASKS
from taiyi_ray.tasks.scores import Piece, Scores
from tests.samples import asked, english


def scores(*tokens: tuple[str, float]) -> Scores:
    """An answer of these tokens with their probabilities."""
    texts = [text for text, _ in tokens]
    starts = list(accumulate(map(len, texts), initial=0))[:-1]
    return Scores("".join(texts), starts, [math.log(p) for _, p in tokens])


ANSWER = scores(
    ("disease", 0.9), (":", 1.0), (" breast", 0.5), (" can", 0.8), ("cer", 1.0), (";", 0.4),
    (" AIDS", 0.25), (", fever", 0.1), ("\n", 0.6), ("<end>", 0.7),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "probabilities"),
    [
        ("breast cancer", [0.5, 0.8, 1.0]),  # the blank before it belongs to its first token
        ("AIDS", [0.25]),
        ("cancer", [0.8, 1.0]),
        ("fever", []),  # its only token also holds a comma
        ("AIDS, fever", [0.25, 0.1]),
        ("can", [0.8]),
        ("ance", []),  # no token lies within
    ],
)
def test_a_piece_counts_the_tokens_that_hold_nothing_else(
    text: str, probabilities: list[float]
) -> None:
    score = ANSWER.of(Piece(text, ANSWER.text.index(text)))
    if probabilities:
        mean = math.prod(probabilities) ** (1 / len(probabilities))
        assert score == pytest.approx(mean)
    else:
        assert score is None


def test_several_pieces_are_scored_as_one() -> None:
    pieces = [Piece(text, ANSWER.text.index(text)) for text in ("cancer", "AIDS")]
    assert ANSWER.of(*pieces) == pytest.approx((0.8 * 1.0 * 0.25) ** (1 / 3))


def test_a_character_of_several_tokens_counts_the_one_that_ends_it() -> None:
    answer = scores(("疾病：", 1.0), ("", 0.3), ("癌", 0.6), ("", 0.2))
    assert answer.of(Piece("癌", 3)) == pytest.approx(0.6)


@given(st.lists(st.tuples(st.text(max_size=4), st.floats(0.001, 1)), min_size=1), st.data())
def test_a_score_lies_between_the_least_and_the_most_sure_token(
    tokens: list[tuple[str, float]], data: st.DataObject
) -> None:
    answer = scores(*tokens)
    start = data.draw(st.integers(0, len(answer.text)))
    end = data.draw(st.integers(start, len(answer.text)))
    score = answer.of(Piece(answer.text[start:end], start))
    if score is not None:
        probabilities = [p for _, p in tokens]
        assert min(probabilities) * 0.999 <= score <= max(probabilities) * 1.001


@pytest.mark.parametrize(
    ("text", "inner", "start"), [(" a b ", "a b", 1), ("ab", "ab", 0), ("\t", "", 1), ("", "", 0)]
)
def test_a_stripped_piece_knows_where_it_stands(text: str, inner: str, start: int) -> None:
    assert Piece(text, 0).strip() == (inner, start)


def test_mentions_and_relations_carry_the_scores_of_their_pieces() -> None:
    document = english("Cocaine caused seizures; cocaine caused stroke.")
    tokens = [
        ("treatment", 1.0), (": [", 1.0), ("Cocaine", 0.9), (",", 1.0), (" seizures", 0.4),
        ("];", 1.0), (" [", 1.0), ("cocaine", 0.5), (",", 1.0), (" stroke", 0.5), ("]", 1.0),
    ]  # fmt: skip
    (question,) = asked("re", "treatment").questions(document)
    answer = scores(*tokens)
    found = TASKS["re"].parse(answer.text, question, document, scores=answer).annotations
    assert [m.score for m in found.mentions] == pytest.approx([0.9, 0.4, 0.5, 0.5])
    assert [r.score for r in found.relations] == pytest.approx([math.sqrt(0.36), 0.5])

    answer = scores(("chemical", 1.0), (":", 1.0), (" cocaine", 0.3), (";", 1.0), (" Co", 0.5),
                    ("caine", 0.5))  # fmt: skip
    (question,) = asked("ner", "chemical,disease").questions(document)
    mentions = TASKS["ner"].parse(answer.text, question, document, scores=answer).annotations
    assert {m.text: m.score for m in mentions.mentions} == pytest.approx(
        {"cocaine": 0.3, "Cocaine": 0.5}
    )
    free = TASKS["ner"].parse(answer.text, question, document).annotations
    assert {m.score for m in free.mentions} == {None}
