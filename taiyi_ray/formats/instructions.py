"""Instruction data in JSON: what was said to a model, and what it should answer.

    taiyi        {"conversation": [{"human": ..., "assistant": ...}]}
    promptcblue  {"input": ..., "target": ..., "answer_choices": [...]}
    alpaca       {"instruction": ..., "input": "", "output": ...}      Alpaca, BELLE, Huatuo
    sharegpt     {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}
    messages     {"messages": [{"role": "user", "content": ...}]}                 OpenAI, BELLE 2

The turns are passages of the types `user`, `assistant` and `system`. The last turn, if it is the
assistant's, is no passage but the text of a task. The instruction and the input of an alpaca record
are a turn each. Huatuo and BELLE put earlier turns into the instruction, each behind the name of
its speaker (`speakers`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal

from pydantic import Field

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import json_records, language
from taiyi_ray.formats.format import NamedFormat, RawRecord
from taiyi_ray.formats.json_records import (
    JsonOptions,
    id_of,
    metadata_of,
    objects_at,
    record_of,
    text_at,
)
from taiyi_ray.records import Document, Text, passages

Turns = list[tuple[str, str]]

_SPEAKERS: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


class InstructionsOptions(JsonOptions):
    """The form of the records, and the task whose text is the answer."""

    layout: Literal["lines", "list", "keys"] = Field(
        "lines", description="JSON `lines`, the items of a `list`, or the values of `keys`"
    )
    form: Literal["taiyi", "promptcblue", "alpaca", "sharegpt", "messages"] = Field(
        description="the form of the records"
    )
    task: str = Field("chat", min_length=1, description="the task of the answer")
    speakers: dict[str, Literal["user", "assistant"]] = Field(
        {},
        description="what stands in an alpaca instruction before each turn: `{'<user>:': user, "
        "'<bot>:': assistant}`",
    )


def parse(raw: RawRecord, options: InstructionsOptions) -> Document:
    """Turn a record into a Document of its turns, with the last answer as gold."""
    key, record = record_of(raw, options)
    turns = _READERS[options.form](record, options)
    answer = turns.pop()[1] if turns and turns[-1][0] == "assistant" else None
    document = Document(
        key or id_of(record, "conversation_id", "sample_id", "id"),
        passages((role, language.of_text(text), text) for role, text in turns),
        metadata=metadata_of(record, *_READ),
    )
    if answer:
        document.gold.texts.append(Text(options.task, answer))
    return document


_READ: Final = (
    *("conversation_id", "sample_id", "id", "conversation", "conversations", "messages"),
    *("input", "target", "instruction", "output"),
)


def _taiyi(record: dict[str, Any], options: InstructionsOptions) -> Turns:
    turns = []
    for one in _turns(record, "conversation"):
        turns.append(("user", text_at(one, "human")))
        if one.get("assistant") is not None:
            turns.append(("assistant", text_at(one, "assistant")))
    return turns


def _promptcblue(record: dict[str, Any], options: InstructionsOptions) -> Turns:
    return [("user", text_at(record, "input")), ("assistant", text_at(record, "target"))]


def _alpaca(record: dict[str, Any], options: InstructionsOptions) -> Turns:
    instruction = text_at(record, "instruction")
    given = "" if record.get("input") is None else text_at(record, "input")
    turns: Turns = [("user", instruction)]
    if options.speakers:
        marks = "|".join(map(re.escape, sorted(options.speakers, key=len, reverse=True)))
        before, *rest = re.split(f"({marks})", instruction)
        turns = [("user", before.strip())] if before.strip() else []
        turns += [
            (options.speakers[mark], said.strip())
            for mark, said in zip(rest[::2], rest[1::2], strict=True)
        ]
    if given.strip():
        turns.append(("user", given))
    return [*turns, ("assistant", text_at(record, "output"))]


def _sharegpt(record: dict[str, Any], options: InstructionsOptions) -> Turns:
    return _spoken(record, "conversations", "from", "value")


def _messages(record: dict[str, Any], options: InstructionsOptions) -> Turns:
    return _spoken(record, "messages", "role", "content")


def _spoken(record: dict[str, Any], key: str, speaker: str, said: str) -> Turns:
    turns = []
    for one in _turns(record, key):
        role = _SPEAKERS.get(text_at(one, speaker).lower())
        if role is None:
            raise FormatError("invalid_record", f"{speaker} {one[speaker]!r:.80} is nobody known")
        turns.append((role, text_at(one, said)))
    return turns


def _turns(record: dict[str, Any], key: str) -> list[dict[str, Any]]:
    if not (turns := objects_at(record, key)):
        raise FormatError("invalid_record", f"the record has no turns in {key}")
    return turns


_READERS: Final[dict[str, Callable[[dict[str, Any], InstructionsOptions], Turns]]] = {
    "taiyi": _taiyi,
    "promptcblue": _promptcblue,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
    "messages": _messages,
}

FORMAT = NamedFormat(
    "instructions",
    InstructionsOptions,
    json_records.scan,
    parse,
    "an object: the turns of a conversation, its last answer",
)
