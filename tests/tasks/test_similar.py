"""Examples by similarity: the nearest by words, never the document itself."""

from __future__ import annotations

import pickle
import random

import pytest
from rapidfuzz.distance import Indel

from taiyi_ray.records import Annotations, Document, Mention, passages
from taiyi_ray.tasks import assign
from taiyi_ray.tasks.similar import Similar


def document(text: str, language: str = "en") -> Document:
    return Document(text[:8], passages([("text", language, text)]))


def nearest(number: int, text: str, *examples: str) -> list[str]:
    return [one.text for one in Similar([*map(document, examples)], number).to(document(text))]


def test_the_most_similar_example_stands_last_next_to_the_question():
    examples = ("Aspirin relieves pain.", "Gout is painful.", "Aspirin relieves gout pain.")
    assert nearest(2, "ASPIRIN relieves severe gout pain", *examples) == [examples[0], examples[2]]
    assert nearest(1, "gout is rare", *examples) == [examples[1]]


def test_a_document_with_the_same_words_is_no_example():
    assert nearest(3, "Gout, pain.", "pain: GOUT", "gout") == ["gout"]


def test_chinese_is_compared_by_characters():
    assert nearest(1, "高血压吃什么药", "糖尿病的饮食", "血压高吃什么") == ["血压高吃什么"]


def test_fewer_examples_than_asked_for_are_all_taken():
    assert len(nearest(9, "one two", "one", "two", "three")) == 3


def test_similarity_is_the_coefficient_of_dice_over_bags_of_words():
    draw = random.Random(0)
    for _ in range(200):
        one, other = (sorted(draw.choices("abcd", k=draw.randint(1, 9))) for _ in range(2))
        shared = sum(min(one.count(word), other.count(word)) for word in "abcd")
        expected = 2 * shared / (len(one) + len(other))
        assert Indel.normalized_similarity(one, other) == pytest.approx(expected)


def gold(text: str, *names: str) -> Document:
    found = document(text)
    found.gold = Annotations(
        [
            Mention(n, "disease", name, text.index(name), text.index(name) + len(name))
            for n, name in enumerate(names)
        ]
    )
    return found


def test_each_document_is_asked_behind_its_own_examples():
    (plain,) = assign(["ner"], {"ner": {"types": ["disease"]}})
    examples = [gold("He has gout.", "gout"), gold("She has asthma.", "asthma")]
    asked = plain.with_similar_shots(examples, 1)
    for text, answer in (("Old gout he has", "gout"), ("Old asthma she has", "asthma")):
        (question,) = pickle.loads(pickle.dumps(asked)).questions(document(text))
        user, assistant, last = question.messages
        assert assistant["content"].endswith(f": {answer}")
        assert user["role"] == last["role"] == "user"
        assert [last] == plain.questions(document(text))[0].messages
    one, other = asked.identity(), plain.with_similar_shots(examples, 2).identity()
    assert one.keys() - plain.identity() == {"similar"}
    assert one["similar"] != other["similar"]
    assert one == plain.with_similar_shots(examples, 1).identity()


def test_an_example_about_which_the_task_has_nothing_to_ask_is_left_out():
    (plain,) = assign(["ner"], {"ner": {"types": ["disease"]}})
    empty, good = document("..."), gold("He has gout.", "gout")
    for asked in (plain.with_shots([empty, good]), plain.with_similar_shots([empty, good], 2)):
        (question,) = asked.questions(document("Old gout he has"))
        assert [message["role"] for message in question.messages] == ["user", "assistant", "user"]
