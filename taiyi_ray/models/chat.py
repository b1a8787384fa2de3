"""Load a model's tokenizer, and write a conversation as tokens in the model's chat form."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, cast

from taiyi_ray.config import ChatForm
from taiyi_ray.errors import ModelError, first_line
from taiyi_ray.forms import is_han
from taiyi_ray.models.folder import Model, settings
from taiyi_ray.tasks import thinking
from taiyi_ray.tasks.task import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THINKING = "enable_thinking"
"""The variable of a chat template that switches the model's thinking on or off."""

_BEGUN = 64
"""The beginnings of prompts whose tokens are kept: the documents that threads work on at once."""

_PARAGRAPH = "\n\n"
"""What stands between a document and the instruction behind it (`template.lay_out`)."""

_PARAGRAPHS = (
    "It eased the pain (P < 0.05).\n\nChemical mentions?",
    "Two\n\nparagraphs \n\n\nextract the diseases from the text.",
    "服用阿司匹林后，头痛缓解。\n\n疾病？",
    "\n\n第二句。",
)
"""Prompts by which a tokenizer is tried."""

_HEADS = 1024
"""The heads of answers whose tokens are kept: a run has one for each type that it asks about."""

TAIYI1_SEPARATOR = "<|endoftext|>"
"""Begins, separates and ends the turns of a conversation in the chat form `taiyi1`."""

CHAT_TEMPLATES = {
    "taiyi1": (
        "<|endoftext|>{% for message in messages %}{{ message.content }}<|endoftext|>{% endfor %}"
    ),
    "taiyi2": (
        "[gMASK]<sop>{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    ),
}
"""Chat templates that write turns as the forms of the Taiyis.

That of Taiyi 2 is GLM-4's, but that the line end behind `<|assistant|>`, which stood before every
answer in its training (the template `chatglm4` of ms-swift), belongs to the prompt.
"""

_TAIYI2_STOPS = ("<|endoftext|>", "<|user|>", "<|observation|>")
"""What ends an answer of GLM-4, by its generation config."""


def load_tokenizer(
    model: Model, form: ChatForm = "template", *, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer.

    Args:
        model: the model.
        form: the chat form; that of Taiyi 2 is the tokenizer's chat template then.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        ModelError: when it cannot be loaded, or when the model comes with code of its own and
            `trust_remote_code` is false.
    """
    if not trust_remote_code and any(
        "auto_map" in settings(model, name) for name in ("config.json", "tokenizer_config.json")
    ):
        raise ModelError(
            f"model {model.name}: it comes with Python code of its own; read it, then allow it to "
            "run with --trust-remote-code"
        )
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            model.path, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:  # tokenizers raises a bare Exception for a broken file
        raise ModelError(
            f"model {model.name}: no usable tokenizer in {model.path} ({first_line(error)})"
        ) from error
    if form == "taiyi2":
        known = tokenizer.get_vocab()
        if missing := [one for one in ("[gMASK]", "<sop>", *_TAIYI2_STOPS) if one not in known]:
            raise ModelError(
                f"the tokenizer has no {missing[0]}, which --chat taiyi2 needs; use --chat template"
            )
        tokenizer.chat_template = CHAT_TEMPLATES[form]
    return tokenizer


def check_grammar(tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a grammar can constrain the answers of a model with this tokenizer.

    Raises:
        ModelError: when the grammar backend cannot use the tokenizer; the message names
            `--grounding align`.
    """
    import llguidance.hf

    try:
        llguidance.hf.from_tokenizer(tokenizer)
    except Exception as error:  # it raises whatever the tokenizer's conversion raises
        raise ModelError(
            f"the tokenizer ({type(tokenizer).__name__}) cannot be used to constrain answers "
            f"({first_line(error)}); use --grounding align"
        ) from error


def identity(model: Model, form: ChatForm) -> str:
    """Return what stands for a model in the fingerprint: its digest, and whether it may think.

    When the chat template can switch thinking off, prompts do so. This changes the prompts, so the
    fingerprint must say it.
    """
    file = model.path / "chat_template.jinja"
    template = file.read_text("utf-8") if file.is_file() else None
    template = template or settings(model, "tokenizer_config.json").get("chat_template")
    quiet = form == "template" and THINKING in str(template)
    return f"without thinking, {model.digest}" if quiet else model.digest


def prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], form: ChatForm = "template"
) -> list[int]:
    """Return the token ids of a conversation that the model shall answer.

    The form `template` uses the tokenizer's own chat template. It switches thinking off when the
    template can do that (`enable_thinking`, as in Qwen3's). The first Taiyi was trained in the form
    `taiyi1`. There the turns have no roles, and one token begins, separates and ends them:
    `<|endoftext|>question<|endoftext|>answer<|endoftext|>question<|endoftext|>`. The form `taiyi2`
    is a chat template, which `load_tokenizer` gave to the tokenizer.

    Args:
        tokenizer: the tokenizer of the model, loaded for the form.
        messages: the turns of the conversation.
        form: the chat form.

    Raises:
        ModelError: when the tokenizer does not know the form.
        ValueError: when the turns of a `taiyi1` conversation do not alternate from user to user.
    """
    if form != "taiyi1":
        if not tokenizer.chat_template:
            raise ModelError(
                "the model has no chat template; use an instruction-tuned model, or --chat taiyi1 "
                "for a model trained in that form"
            )
        return _templated(tokenizer, messages)
    roles = [message["role"] for message in messages]
    if len(roles) % 2 == 0 or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise ValueError(f"the chat form taiyi1 has only user and assistant in turn, not {roles}")
    separator = _separator_id(tokenizer)
    tokens = [separator]
    for message in messages:
        # A text that spells a special token must not become one.
        tokens += tokenizer.encode(
            message["content"], add_special_tokens=False, split_special_tokens=True
        )
        tokens.append(separator)
    return tokens


def head_tokens(
    tokenizer: PreTrainedTokenizerBase, head: str, form: ChatForm = "template"
) -> list[int]:
    """Return the token ids of the beginning of an answer, which stand behind those of the prompt.

    They are what a model in training sees there (`conversation_tokens`), as long as no token goes
    over the end of `head`.

    Args:
        tokenizer: the tokenizer of the model.
        head: the beginning of the answer, without white space at its end.
        form: the chat form.

    Raises:
        ModelError: when the tokenizer does not know the form.
    """
    # What the user says has no influence: special tokens stand between it and the answer.
    asked = [{"role": "user", "content": "?"}]
    prompt = prompt_tokens(tokenizer, asked, form)
    answered = [*asked, {"role": "assistant", "content": head}]
    return _answer(tokenizer, answered, prompt, form)[0]


class Prompter:
    """Makes prompts as tokens; threads may use it at the same time.

    The prompts on one document differ in their last paragraph only, the instruction. So what stands
    before it is tokenised once.

    Args:
        tokenizer: the tokenizer of the model.
        form: the chat form.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, form: ChatForm = "template") -> None:
        self._tokenizer, self._form = tokenizer, form
        # A tokenizer is told at each call how to treat special tokens, so that only one thread may
        # use it at a time.
        self._one_at_a_time = threading.Lock()
        self._head = lru_cache(_HEADS)(partial(head_tokens, tokenizer, form=form))
        self._begun = lru_cache(_BEGUN)(self._before_a_paragraph)

    @cached_property
    def opens_thought(self) -> bool:
        """Whether prompts end inside a thought, which the model goes on with before it answers."""
        asked = [{"role": "user", "content": "?"}]
        return self._form != "taiyi1" and thinking.is_open(_rendered(self._tokenizer, asked, False))

    def tokens(self, messages: Sequence[Message], head: str = "") -> list[int]:
        """Return the token ids of a conversation that the model shall answer.

        Args:
            messages: the turns of the conversation.
            head: the beginning of the answer, if the prompt holds it.

        Raises:
            ModelError, ValueError: as of `prompt_tokens`.
        """
        with self._one_at_a_time:
            tokens = self._in_two(messages) if self._divides else None
            if tokens is None:
                tokens = prompt_tokens(self._tokenizer, messages, self._form)
            return tokens + self._head(head) if head else tokens

    def _plain(self, text: str) -> list[int]:
        return cast(list[int], self._tokenizer.encode(text, add_special_tokens=False))

    def _before_a_paragraph(self, text: str, letter: str) -> list[int] | None:
        """The tokens of a text that a letter of this kind follows; None if they are not divided.

        What follows decides how the line ends at the end of the text are spelled.
        """
        ids, last = self._plain(text + letter), self._plain(letter)
        return ids[: -len(last)] if ids[-len(last) :] == last else None

    def _in_two(self, messages: Sequence[Message]) -> list[int] | None:
        """The tokens of a prompt, its last paragraph apart from what precedes it.

        The result is None where the prompt cannot be divided so, or where a text spells a special
        token.
        """
        if not messages or _spells_special(self._tokenizer, messages):
            return None
        asked = messages[-1]["content"].rpartition(_PARAGRAPH)[2]
        rendered = _rendered(self._tokenizer, messages, False)
        at = rendered.rfind(_PARAGRAPH + asked) + len(_PARAGRAPH)
        letter = _letter_like(asked[:1])
        if at < len(_PARAGRAPH) or not letter:
            return None
        begun = self._begun(rendered[:at], letter)
        return None if begun is None else begun + self._plain(rendered[at:])

    @cached_property
    def _divides(self) -> bool:
        """Whether a prompt may be divided before its last paragraph: no token goes over that place.

        This holds for tokenizers that first divide a text at its line ends. Others are found out
        here: those that put a mark at the beginning of every text, for example.
        """
        if self._form == "taiyi1" or not self._tokenizer.chat_template:
            return False
        for text in _PARAGRAPHS:
            messages = [{"role": "user", "content": text}]
            apart = self._in_two(messages)
            if apart is None or apart != prompt_tokens(self._tokenizer, messages, self._form):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Spelled:
    """The tokens of a conversation that a model learns from.

    Attributes:
        ids: the token ids.
        answers: half-open spans of `ids`, in order: the tokens that the model itself has to write.
            Each begins where the prompt of its turn ends, and its last token ends the turn.
    """

    ids: list[int]
    answers: list[tuple[int, int]]


def conversation_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], form: ChatForm = "template"
) -> list[Spelled]:
    """Return the token ids of an entire conversation, and which of them the model has to write.

    What stands before an answer is exactly what `prompt_tokens` makes of the turns before it. Most
    chat forms write the turns of a conversation one after the other, so that one sequence holds
    all answers. A template that writes an earlier turn in another way once it is past (Qwen3 drops
    thoughts) does not allow that: then such an answer has a sequence of its own, which comes first.

    Args:
        tokenizer: the tokenizer of the model.
        messages: the turns of the conversation, with the answers of the assistant.
        form: the chat form.

    Raises:
        ModelError: when the tokenizer does not know the form, or has no token that ends an answer.
        ValueError: when no turn is the assistant's, or when the form does not allow these turns.
    """
    special = _special_ids(tokenizer)
    made: list[Spelled] = []
    for number in reversed(range(len(messages))):
        if messages[number]["role"] != "assistant":
            continue
        prompt = _prompt(tokenizer, messages[:number], form)
        answer, stop = _answer(tokenizer, messages[: number + 1], prompt, form)
        begin, end = len(prompt), len(prompt) + len(answer)
        later = made[-1].ids if made else []
        if later[:end] == prompt + answer and len(later) > end and later[end] in special:
            # Here the token that ends the turn may be the one that begins the next (GLM-4).
            made[-1].answers.insert(0, (begin, end + 1))
        else:
            made.append(Spelled([*prompt, *answer, stop], [(begin, end + 1)]))
    if not made:
        raise ValueError("the conversation has no answer of the assistant")
    return made[::-1]


def _prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], form: ChatForm
) -> list[int]:
    from jinja2 import TemplateError

    try:
        return prompt_tokens(tokenizer, messages, form)
    except TemplateError as error:
        raise ValueError(f"the chat template refuses these turns ({first_line(error)})") from error


def _answer(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    prompt: list[int],
    form: ChatForm,
) -> tuple[list[int], int]:
    """The tokens of the last turn, which the assistant has, and the token that ends it."""
    if form == "taiyi1":
        return _alone(tokenizer, messages), _separator_id(tokenizer)
    special = _special_ids(tokenizer)
    whole = _templated(tokenizer, messages, answered=True)
    follows = whole[len(prompt) :] if whole[: len(prompt)] == prompt else []
    stop = next((n for n, token in enumerate(follows) if token in special), None)
    if stop is not None:
        return follows[:stop], follows[stop]
    # The template writes the answer otherwise than behind the prompt, or writes no end.
    ends = [token for token in _closing(tokenizer, messages) if token in special]
    if not ends and tokenizer.eos_token_id is None:
        raise ModelError("the model has no token that ends an answer; give its tokenizer one")
    stop = ends[0] if ends else cast(int, tokenizer.eos_token_id)
    return _alone(tokenizer, messages), stop


def _alone(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The tokens of the text of the last turn."""
    text = messages[-1]["content"]
    return cast(
        list[int], tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    )


def _closing(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """What the template writes behind the text of the last turn."""
    holder = "\ue000"
    rendered = _rendered(tokenizer, [*messages[:-1], {**messages[-1], "content": holder}], True)
    return cast(
        list[int], tokenizer.encode(rendered.rpartition(holder)[2], add_special_tokens=False)
    )


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    return {number for number, t in tokenizer.added_tokens_decoder.items() if t.special}


def _letter_like(character: str) -> str:
    """A letter that tokenizers treat alike where a paragraph begins with it; empty for others.

    Some tokenizers divide a text at digits, signs or Chinese characters first.
    """
    if character and is_han(character):
        return "病"
    return "a" if character.isascii() and character.isalpha() else ""


def _spells_special(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> bool:
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    return any(token in message["content"] for message in messages for token in special)


def _switched(tokenizer: PreTrainedTokenizerBase) -> dict[str, bool]:
    """The variables of the chat template: thinking is off where the template can do that."""
    return {THINKING: False} if THINKING in str(tokenizer.chat_template) else {}


def _rendered(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], answered: bool
) -> str:
    rendered = tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        add_generation_prompt=not answered,
        tokenize=False,
        **_switched(tokenizer),
    )
    return cast(str, rendered)


def _templated(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, answered: bool = False
) -> list[int]:
    if not _spells_special(tokenizer, messages):
        ids = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=not answered,
            tokenize=True,
            return_dict=False,
            **_switched(tokenizer),
        )
        return cast(list[int], ids)
    # A text that spells a special token must not become one. So the template is rendered with
    # placeholders of private-use characters, and the texts are tokenised apart from the template.
    holders = {f"\ue000{n}\ue001": message["content"] for n, message in enumerate(messages)}
    held = [{**m, "content": holder} for m, holder in zip(messages, holders, strict=True)]
    tokens: list[int] = []
    for piece in re.split("(\ue000\\d+\ue001)", _rendered(tokenizer, held, answered)):
        text = holders.get(piece)
        tokens += tokenizer.encode(
            piece if text is None else text,
            add_special_tokens=False,
            split_special_tokens=text is not None,
        )
    return tokens


def stop_token_ids(tokenizer: PreTrainedTokenizerBase, form: ChatForm = "template") -> list[int]:
    """Return the tokens that end an answer, besides those that the model's generation config names.

    Raises:
        ModelError: when the tokenizer does not know the form.
    """
    if form == "taiyi1":
        return [_separator_id(tokenizer)]
    if form == "taiyi2":
        return cast(list[int], tokenizer.convert_tokens_to_ids(list(_TAIYI2_STOPS)))
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _separator_id(tokenizer: PreTrainedTokenizerBase) -> int:
    number = tokenizer.get_vocab().get(TAIYI1_SEPARATOR)
    if number is None:
        raise ModelError(
            f"the tokenizer has no {TAIYI1_SEPARATOR}, which --chat taiyi1 needs; "
            "use --chat template"
        )
    return cast(int, number)
