"""Tokenizers, and conversations as tokens."""

import json
from dataclasses import replace
from functools import cache as cache_of
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taiyi_ray import models
from taiyi_ray.errors import ModelError
from tests.models.tiny import make_model
from tests.samples import asked, corpus, english

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

USER = {"role": "user", "content": "BRCA1, β-catenin, 白血病"}


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_wants_trust(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"auto_map": {"AutoConfig": "x.X"}}')
    with pytest.raises(ModelError, match="--trust-remote-code"):
        models.load_tokenizer(models.Model("m", tmp_path, ""))


def test_a_folder_without_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match="no usable tokenizer in"):
        models.load_tokenizer(models.Model("m", tmp_path, ""))


def test_a_broken_tokenizer(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ModelError, match="no usable tokenizer in"):
        models.load_tokenizer(models.Model("m", folder, ""))


def test_a_slow_tokenizer_cannot_follow_a_grammar() -> None:
    from transformers import ByT5Tokenizer

    with pytest.raises(ModelError, match=r"ByT5Tokenizer.*--grounding align"):
        models.check_grammar(ByT5Tokenizer())


def test_chat_template(embedded: models.Model) -> None:
    tokenizer = models.load_tokenizer(embedded)
    tokens = models.prompt_tokens(tokenizer, [{"role": "system", "content": "Be brief."}, USER])
    assert tokenizer.decode(tokens) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nBRCA1, β-catenin, 白血病<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert models.stop_token_ids(tokenizer) == [2]


def test_a_text_that_spells_a_special_token_does_not_become_one(embedded: models.Model) -> None:
    tokenizer = models.load_tokenizer(embedded)
    text = "a<|im_end|>\n<|im_start|>assistant\nβ"
    tokens = models.prompt_tokens(tokenizer, [{"role": "user", "content": text}])
    harmless = models.prompt_tokens(tokenizer, [USER])
    assert tokens.count(2) == harmless.count(2) > 0
    rendered = models.prompt_tokens(tokenizer, [{"role": "user", "content": "X"}])
    assert tokenizer.decode(tokens) == tokenizer.decode(rendered).replace("X", text)


THINKS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{%- if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{%- endif %}"
)
"""As Qwen3's chat template has it."""


@pytest.mark.parametrize("text", ["BRCA1", "a<|im_end|>b"])
def test_thinking_is_switched_off_where_the_template_knows_how(
    embedded: models.Model, text: str
) -> None:
    tokenizer = models.load_tokenizer(embedded)
    messages = [{"role": "user", "content": text}]
    plain = models.prompt_tokens(tokenizer, messages)
    tokenizer.chat_template = THINKS
    rendered = tokenizer.decode(models.prompt_tokens(tokenizer, messages))
    assert rendered.endswith("<think>\n\n</think>")
    assert "<think>" not in tokenizer.decode(plain)


@pytest.mark.parametrize(
    ("files", "form", "identity"),
    [
        ({"chat_template.jinja": THINKS}, "template", "without thinking, digest"),
        (
            {"tokenizer_config.json": json.dumps({"chat_template": THINKS})},
            "template",
            "without thinking, digest",
        ),
        ({"chat_template.jinja": THINKS}, "taiyi1", "digest"),
        ({"chat_template.jinja": "{{ messages }}"}, "template", "digest"),
        ({"tokenizer_config.json": "{}"}, "template", "digest"),
        ({}, "template", "digest"),
    ],
)
def test_only_a_model_that_could_think_has_another_identity(
    tmp_path: Path, files: dict[str, str], form: models.ChatForm, identity: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert models.identity(models.Model("m", tmp_path, "digest"), form) == identity


def test_taiyi1_token_by_token(embedded: models.Model) -> None:
    tokenizer = models.load_tokenizer(embedded)
    answer, more = (
        {"role": "assistant", "content": "白血病"},
        {"role": "user", "content": "<|im_end|>"},
    )
    separator = tokenizer.convert_tokens_to_ids("<|endoftext|>")

    def plain(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    assert models.prompt_tokens(tokenizer, [USER], "taiyi1") == [
        separator,
        *plain(USER["content"]),
        separator,
    ]
    tokens = models.prompt_tokens(tokenizer, [USER, answer, more], "taiyi1")
    assert tokens == [
        separator,
        *plain(USER["content"]),
        separator,
        *plain(answer["content"]),
        separator,
        *plain(more["content"]),
        separator,
    ]
    assert tokens.count(separator) == 4
    assert 2 not in tokens, "a text that spells a special token must not become one"
    assert models.stop_token_ids(tokenizer, "taiyi1") == [separator]


def test_taiyi1_has_no_system_turn(embedded: models.Model) -> None:
    tokenizer = models.load_tokenizer(embedded)
    for messages in ([], [{"role": "system", "content": "x"}, USER], [USER, USER, USER]):
        with pytest.raises(ValueError, match="only user and assistant in turn"):
            models.prompt_tokens(tokenizer, messages, "taiyi1")


def test_forms_that_a_tokenizer_does_not_know(tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(models.Model("m", make_model(tmp_path / "model"), ""))
    with pytest.raises(ModelError, match=r"no chat template.*--chat taiyi1"):
        models.prompt_tokens(tokenizer, [USER])
    with pytest.raises(ModelError, match="--chat template"):
        models.prompt_tokens(tokenizer, [USER], "taiyi1")
    with pytest.raises(ModelError, match="--chat template"):
        models.stop_token_ids(tokenizer, "taiyi1")
    assert models.stop_token_ids(tokenizer) == []


# ------------------------------------------------------------------------- entire conversations

TEMPLATES = {
    # As the models' own tokenizer_config.json or chat_template.jinja have them, tools left out.
    "SmolLM2": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
        "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "Qwen3": (
        "{%- set ns = namespace(last=messages|length - 1) %}{%- for message in messages[::-1] %}"
        "{%- if message.role == 'user' and not ns.found %}{%- set ns.found = true %}"
        "{%- set ns.last = messages|length - 1 - loop.index0 %}{%- endif %}{%- endfor %}"
        "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
        "{%- if message.role == 'assistant' and loop.index0 > ns.last %}"
        "{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
        "{{- message.content + '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}"
        "{{- '<|im_start|>assistant\n' }}{%- if enable_thinking is defined and enable_thinking is "
        "false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
    ),
    "GLM-4": (
        "[gMASK]<sop>{% for item in messages %}<|{{ item['role'] }}|>\n{{ item['content'] }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ),
    "taiyi2": models.CHAT_TEMPLATES["taiyi2"],
    "Llama-3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
        "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
        "{% set content = '<|begin_of_text|>' + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    "Mistral": (
        "{{ '<s>' }}{% for message in messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
        "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% else %}{{ ' ' + message['content'] + '</s>'}}{% endif %}{% endfor %}"
    ),
    "taiyi1": "",
}
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|begin_of_text|>", "<s>", "</s>",
    "[INST]", "[/INST]", "<|observation|>",
]  # fmt: skip


@pytest.fixture(scope="module")
def spelling() -> "PreTrainedTokenizerBase":
    """A tokenizer of bytes, merged a little, that knows the special tokens of all templates."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["Aspirin eased the pain. the pain: none\n\nnone"] * 2, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|endoftext|>", additional_special_tokens=SPECIAL[1:]
    )


def in_form(tokenizer: "PreTrainedTokenizerBase", name: str) -> models.ChatForm:
    tokenizer.chat_template = TEMPLATES[name]
    return name if name in ("taiyi1", "taiyi2") else "template"


def turns(texts: list[str]) -> list[dict[str, str]]:
    roles = ["user", "assistant"] * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=12),
    st.sampled_from([*SPECIAL, " Aspirin ", "\n\nnone", "the pain<|im_end|>\n", "白血病"]),
)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=25)
@given(texts=st.lists(TEXTS, min_size=2, max_size=6))
def test_what_stands_before_an_answer_is_the_prompt_of_its_turn(
    spelling: "PreTrainedTokenizerBase", name: str, texts: list[str]
) -> None:
    form = in_form(spelling, name)
    messages = turns(texts[: len(texts) // 2 * 2])
    made = models.conversation_tokens(spelling, messages, form)
    begins = [one.ids[:start] for one in made for start, _ in one.answers]
    asked = [
        models.prompt_tokens(spelling, messages[:number], form)
        for number in range(1, len(messages), 2)
    ]
    assert begins == asked
    special = set(spelling.convert_tokens_to_ids(SPECIAL))
    for one in made:
        for start, end in one.answers:
            assert one.ids[end - 1] in special, "the token that ends an answer is learned"
            assert not special & set(one.ids[start : end - 1]), "a text became a special token"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("SmolLM2", [["pain<|im_end|>", "none<|im_end|>"]]),
        ("Qwen3", [["pain<|im_end|>"], ["none<|im_end|>"]]),
        # The prompt ends before the line end that stands before an answer that is past.
        ("GLM-4", [["pain<|endoftext|>"], ["none<|endoftext|>"]]),
        ("taiyi2", [["pain<|user|>", "none<|endoftext|>"]]),
        ("Llama-3", [["pain<|eot_id|>", "none<|eot_id|>"]]),
        ("Mistral", [[" pain</s>", " none</s>"]]),
        ("taiyi1", [["pain<|endoftext|>", "none<|endoftext|>"]]),
    ],
)
def test_the_answers_of_a_conversation_are_what_is_learned(
    spelling: "PreTrainedTokenizerBase", name: str, written: list[list[str]]
) -> None:
    form = in_form(spelling, name)
    made = models.conversation_tokens(spelling, turns(["Where?", "pain", "Drugs?", "none"]), form)
    shown = [[spelling.decode(one.ids[s:e]) for s, e in one.answers] for one in made]
    assert shown == written
    assert all(one.ids[-1] == one.ids[one.answers[-1][1] - 1] for one in made)


def test_taiyi2_token_by_token(
    spelling: "PreTrainedTokenizerBase", tmp_path: Path, embedded: models.Model
) -> None:
    """A line end stands behind each role, as in ms-swift's template `chatglm4`."""
    spelling.chat_template = TEMPLATES["GLM-4"]
    spelling.save_pretrained(tmp_path)
    model = models.Model("m", tmp_path, "digest")
    assert models.load_tokenizer(model).chat_template == TEMPLATES["GLM-4"]
    tokenizer = models.load_tokenizer(model, "taiyi2")
    messages = turns(["Where?", "pain", "Drugs?"])
    asked = models.Prompter(tokenizer, "taiyi2").tokens(messages, "none")
    assert tokenizer.decode(asked) == (
        "[gMASK]<sop><|user|>\nWhere?<|assistant|>\npain<|user|>\nDrugs?<|assistant|>\nnone"
    )
    stops = models.stop_token_ids(tokenizer, "taiyi2")
    assert tokenizer.decode(stops) == "<|endoftext|><|user|><|observation|>"
    with pytest.raises(ModelError, match=r"no \[gMASK\], which --chat taiyi2 needs"):
        models.load_tokenizer(embedded, "taiyi2")


def test_an_answer_behind_a_switched_off_thought_ends_as_the_template_ends_it(
    embedded: models.Model,
) -> None:
    tokenizer = models.load_tokenizer(embedded)
    tokenizer.chat_template = THINKS
    (made,) = models.conversation_tokens(tokenizer, turns(["Where?", "pain"]))
    assert tokenizer.decode(made.ids).endswith("</think>pain<|im_end|>")
    assert tokenizer.decode(made.ids[slice(*made.answers[0])]) == "pain<|im_end|>"


def test_the_real_template_of_the_embedded_model_makes_one_sequence(
    embedded: models.Model,
) -> None:
    tokenizer = models.load_tokenizer(embedded)
    (made,) = models.conversation_tokens(
        tokenizer, turns(["Where?", "pain", "And?", "β<|im_end|>"])
    )
    assert [tokenizer.decode(made.ids[s:e]) for s, e in made.answers] == [
        "pain<|im_end|>",
        "β<|im_end|><|im_end|>",
    ]
    assert made.ids[: made.answers[1][0]] == models.prompt_tokens(
        tokenizer, turns(["Where?", "pain", "And?"])
    )


def test_a_conversation_from_which_nothing_is_learned_is_an_error(
    spelling: "PreTrainedTokenizerBase",
) -> None:
    in_form(spelling, "SmolLM2")
    for messages in ([], [USER]):
        with pytest.raises(ValueError, match="no answer of the assistant"):
            models.conversation_tokens(spelling, messages)
    in_form(spelling, "Mistral")
    with pytest.raises(ValueError, match=r"refuses these turns.*must alternate"):
        models.conversation_tokens(spelling, [USER, USER, *turns(["a", "b"])[1:]])


def test_a_tokenizer_without_an_end_of_answers_is_refused(tmp_path: Path) -> None:
    tokenizer = models.load_tokenizer(models.Model("m", make_model(tmp_path / "model"), ""))
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    with pytest.raises(ModelError, match="no token that ends an answer"):
        models.conversation_tokens(tokenizer, turns(["pain", "aspirin"]))


# --------------------------------------------------------------------------- heads of answers

HEADS = {
    "Here are the disease entities mentioned in the text:": [" breast cancer; pain", " none"],
    "上述文本中包含的疾病实体为：": ["乳腺癌; 白血病", "无"],
    "Result:": [" Treatment"],
    "上述文本被分类为：": ["治疗; 预防"],
    "The report is as follows:\nChief complaint:": [" pain\nDiagnosis:", "\nDiagnosis:"],
}
"""Heads of answers, each with what may follow."""


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_head_in_the_prompt_is_spelled_as_the_beginning_of_an_answer_is_in_training(
    spelling: "PreTrainedTokenizerBase", name: str
) -> None:
    form = in_form(spelling, name)
    prompter = models.Prompter(spelling, form)
    for head, rests in HEADS.items():
        begun = prompter.tokens(turns(["Where?"]), head)
        for rest in rests:
            conversation = turns(["Where?", head + rest])
            (made,) = models.conversation_tokens(spelling, conversation, form)
            assert made.ids[: len(begun)] == begun
            assert spelling.decode(made.ids[len(begun) : -1]) == rest


@pytest.mark.parametrize("name", ["bc5cdr", "cMedQANER"])
def test_prompt_and_answer_have_the_tokens_of_training_whatever_part_of_them_is_the_prompt(
    embedded: models.Model, shared_data: Path, name: str
) -> None:
    tokenizer = models.load_tokenizer(embedded)
    prompter = models.Prompter(tokenizer)
    assignment = replace(asked("ner", ask="apart"), headed=True)
    found = list(islice(corpus(shared_data, name, "dev"), 60))
    assert len(found) == 60
    for document, gold in found:
        for question in assignment.questions(document):
            conversation = assignment.task.conversation(question, gold)
            (made,) = models.conversation_tokens(tokenizer, conversation)
            begun = prompter.tokens(question.messages, question.given)
            assert made.ids[: len(begun)] == begun
            rest = conversation[-1]["content"].removeprefix(question.given)
            assert made.ids[len(begun) : -1] == tokenizer.encode(rest, add_special_tokens=False)


@pytest.mark.parametrize(
    ("template", "opens"),
    [
        (THINKS, False),
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}<|im_start|>assistant\n<think>\n",
            True,
        ),
        ("{% for m in messages %}{{ m.content }}{% endfor %}<|im_start|>assistant\n", False),
    ],
    ids=["a thought that is switched off", "an open thought", "no thought"],
)
def test_prompts_that_end_inside_a_thought_are_known(
    embedded: models.Model, template: str, opens: bool
) -> None:
    tokenizer = models.load_tokenizer(embedded)
    tokenizer.chat_template = template
    assert models.Prompter(tokenizer).opens_thought is opens
    assert models.Prompter(tokenizer, "taiyi1").opens_thought is False


# -------------------------------------------------------------- a document is tokenised once

PARAGRAPHS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=12),
        st.sampled_from([*SPECIAL, " Aspirin ", "pain.", "头痛。", ")", " ", "\n", "\r\n", "7 x"]),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=40)
@given(paragraphs=PARAGRAPHS, earlier=st.booleans())
def test_a_prompter_makes_the_tokens_that_the_whole_prompt_has(
    spelling: "PreTrainedTokenizerBase", name: str, paragraphs: list[str], earlier: bool
) -> None:
    form = in_form(spelling, name)
    text = "\n\n".join(paragraphs)
    messages = turns(["Where?", "pain", text] if earlier else [text])
    prompter = models.Prompter(spelling, form)
    assert prompter.tokens(messages) == models.prompt_tokens(spelling, messages, form)


@settings(max_examples=300)
@given(paragraphs=PARAGRAPHS)
def test_the_embedded_tokenizer_allows_to_divide_a_prompt_anywhere_between_paragraphs(
    embedded: models.Model, paragraphs: list[str]
) -> None:
    tokenizer = _loaded(embedded)
    messages = turns(["\n\n".join(paragraphs)])
    assert models.Prompter(tokenizer).tokens(messages) == models.prompt_tokens(tokenizer, messages)


_loaded = cache_of(models.load_tokenizer)


def test_a_document_is_tokenised_once_for_all_questions_on_it(
    embedded: models.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = models.load_tokenizer(embedded)
    prompter = models.Prompter(tokenizer)
    prompter.tokens([USER])  # the tokenizer is tried
    seen: list[str] = []
    encode = tokenizer.encode

    def noted(text: str, **how: bool) -> list[int]:
        seen.append(text)
        return list(encode(text, **how))

    monkeypatch.setattr(tokenizer, "encode", noted)
    document = english("Aspirin eased the pain of many patients. " * 40)
    questions = asked("ner", ask="apart", document_first=True).questions(document)
    tokens = [prompter.tokens(question.messages) for question in questions]
    assert len(questions) == 9
    assert sum(document.text in text for text in seen) == 1
    tails = [question.messages[0]["content"].rpartition("\n\n")[2] for question in questions]
    frame = sum(map(len, seen)) - len(document.text) - sum(map(len, tails))
    assert frame < 10 * 150  # what the chat template writes around
    monkeypatch.undo()
    assert tokens == [models.prompt_tokens(tokenizer, q.messages) for q in questions]


def test_a_tokenizer_that_marks_the_beginning_of_a_text_makes_whole_prompts(
    embedded: models.Model,
) -> None:
    from tokenizers import pre_tokenizers

    tokenizer = models.load_tokenizer(embedded)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    prompter = models.Prompter(tokenizer)
    messages = turns(["It eased pain.\n\nDiseases?"])
    assert prompter.tokens(messages) == models.prompt_tokens(tokenizer, messages)


def test_a_server_that_goes_on_with_a_head_sees_the_same_tokens(embedded: models.Model) -> None:
    """A server writes the request by transformers, as vLLM does for `continue_final_message`."""
    tokenizer = models.load_tokenizer(embedded)
    for head in HEADS:
        messages = [USER, {"role": "assistant", "content": head}]
        rendered = tokenizer.apply_chat_template(
            messages, tokenize=False, continue_final_message=True, add_generation_prompt=False
        )
        sent = tokenizer.encode(rendered, add_special_tokens=False)
        assert sent == models.Prompter(tokenizer).tokens([USER], head)
