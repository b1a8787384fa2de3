"""Wordings of templates, and where the document stands in a prompt."""

from __future__ import annotations

import hashlib

import pytest
from transformers import PreTrainedTokenizerBase

from taiyi_ray.tasks import TASKS, template
from taiyi_ray.tasks.task import LANGUAGES
from taiyi_ray.tasks.vocabulary import MENTION_TYPES, RELATION_TYPES, Term


def test_wordings_of_a_file_are_between_lines_of_dashes() -> None:
    first, *others = template.wordings("mt.v1", "en")
    assert first == "Translate the text into Chinese. Answer with the translation only."
    assert len(others) == 19
    assert not any("---" in wording for wording in (first, *others))


def test_digests_differ_by_wording_and_language() -> None:
    digests = {template.digest("mt.v1", lang, n) for lang in ("en", "zh") for n in (1, 2, 3)}
    assert len(digests) == 6


def test_what_is_wanted_and_not_given_is_an_error() -> None:
    import jinja2

    with pytest.raises(jinja2.UndefinedError):
        template.render("summary.v1", "en", 1, {})


@pytest.mark.parametrize(
    ("text", "document_first", "prompt"),
    [("T", True, "T\n\nI"), ("T", False, "I\n\nT"), ("", True, "I"), ("", False, "I")],
)
def test_layout(text: str, document_first: bool, prompt: str) -> None:
    assert template.lay_out("I", text, document_first=document_first) == prompt


RELEASED = {
    "ner.v2.en": "1e9714a0a338e774b4f92329771256af",
    "ner.v2.zh": "196e9dd249ec59f48a467e41d0fbeb3e",
    "re.v1.en": "704a7459fd73c5ddaea649ab7b45d059",
    "re.v1.zh": "e80cca0c89750e97f278fb895a624b8e",
    "ee.v1.en": "c4d8753a38410fe19361656cc4208ce6",
    "ee.v1.zh": "1ee690750c310b166a47cb048ca45ceb",
    "tc.v1.en": "b153ee16043d60246cc5a84c8d94eb52",
    "tc.v1.zh": "8e81d0645679fdf1ad042eef882d10cf",
    "qa.v1.en": "bc8a369b66eabb5eb94cdc48294f3969",
    "qa.v1.zh": "0ef832af0ba91058798bc7ebf5ea9845",
    "mt.v1.en": "a12cc8ffd8e312feee67e64bfb3c5223",
    "mt.v1.zh": "901e73a0ac6d5037678b48679f9793e7",
    "title.v1.en": "9afcfb5058959963361caa148bf536b2",
    "title.v1.zh": "53dd7fceed3f84075120e4e7fbacbd17",
    "summary.v1.en": "3a559aaa921ed0b77809ea09726c76c4",
    "summary.v1.zh": "26e9e043a7dfd936c0a5c19e4b89e3e1",
    "similarity.v1.en": "19b594f041a103d858f18ce277135b6e",
    "similarity.v1.zh": "923c0d1ee89a02e57049cf81fdfa287d",
    "entailment.v1.en": "01d1054cd07e9afb0e880108a93dc504",
    "entailment.v1.zh": "be003656bf005d555de1d586a254f239",
    "dialogue.v1.en": "b992032d6eb5cef2da96d09fe458f1b4",
    "dialogue.v1.zh": "1392a32d253a6b2b9db650aab8f155c9",
    "report.v1.en": "195fcc2f936ea411ab5a4658c8414ada",
    "report.v1.zh": "a5f10ec78dffd2626539bbc415ef4971",
    "nen.v1.en": "fae6394e23d847153e14651b76d70fd6",
    "nen.v1.zh": "273269fc3e876046f6bb4dd93d5066b0",
    "coref.v1.en": "e0c6e26c6a61e669baca5f1c121f6cdd",
    "coref.v1.zh": "7c67c1620ec1c593986362ce34a00947",
    "act.v1.en": "90395142696131dd33b22fa32273e0ce",
    "act.v1.zh": "0675f9667f416796bff1dade6f4cca02",
    "causal.v1.en": "ea8ce7dd558ed1b07fcdf235fa5a3d3f",
    "causal.v1.zh": "57be9b35822b74f0537a7e97967845da",
    "text2dt.v1.en": "1328e8a0fbf4897f35a333ff64c36bd5",
    "text2dt.v1.zh": "c858cde8b27f9590689f277fc336b0fd",
}
"""The SHA-256 of the first three wordings of each file, which outputs on disk were asked with."""


@pytest.mark.parametrize("name", RELEASED)
def test_the_released_wordings_keep_their_bytes(name: str) -> None:
    stem, language = name.rsplit(".", 1)
    released = "\n---\n".join(template.wordings(stem, language)[:3])
    assert hashlib.sha256(released.encode()).hexdigest()[:32] == RELEASED[name]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", TASKS)
def test_each_file_holds_twenty_wordings_that_differ(name: str, language: str) -> None:
    found = template.wordings(TASKS[name].template, language)
    assert len(set(found)) == len(found) == 20


@pytest.mark.parametrize(
    ("stem", "types", "english", "chinese"),
    [("ner.v2", MENTION_TYPES, (5, 7), (12, 23)), ("re.v1", RELATION_TYPES, (5, 8), (16, 27))],
    ids=["ner", "re"],
)
def test_behind_a_document_the_short_wording_of_one_type_takes_few_tokens(
    tokenizer: PreTrainedTokenizerBase,
    stem: str,
    types: tuple[Term, ...],
    english: tuple[int, int],
    chinese: tuple[int, int],
) -> None:
    """The embedded model's tokenizer knows few Chinese characters: it takes two or three tokens
    for each. With a Chinese vocabulary these questions take 5 to 10 tokens, too."""
    for language, (least, most) in {"en": english, "zh": chinese}.items():
        counts = []
        for term in types:
            tail = template.render(
                stem, language, template.SHORT, {"types": [term.label(language)]}
            )
            counts.append(len(tokenizer.encode("\n\n" + tail, add_special_tokens=False)))
        assert (min(counts), max(counts)) == (least, most)


def test_a_list_at_the_end_of_a_wording_leaves_no_empty_line() -> None:
    values = {"types": ["a", "b"], "first": "one", "second": "two"}
    assert template.render("similarity.v1", "en", 8, values).endswith("\n- a\n- b")
