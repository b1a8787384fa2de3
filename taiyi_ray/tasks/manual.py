"""The manual of the tasks, made from their table: docs/tasks.md (`make docs`)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from taiyi_ray.records import (
    Annotations,
    Argument,
    Document,
    Event,
    Label,
    Mention,
    Relation,
    Text,
    passages,
)
from taiyi_ray.tasks import TASKS, assign
from taiyi_ray.tasks.task import Question, Task

_ANSWERED = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True, slots=True)
class Example:
    """A document in each language, what is asked about it, and what there is to find."""

    options: Mapping[str, Any]
    passages: Mapping[str, Sequence[tuple[str, str]]]
    gold: Mapping[str, Annotations]

    def document(self, language: str) -> Document:
        parts = ((type_, language, text) for type_, text in self.passages[language])
        return Document(language, passages(parts))


def _mentions(*named: tuple[str | None, str, int]) -> list[Mention]:
    return [
        Mention(number, type_, text, start, start + len(text))
        for number, (type_, text, start) in enumerate(named)
    ]


def _labels(task: str, label: str) -> dict[str, Annotations]:
    return {language: Annotations(labels=[Label(task, label)]) for language in _ANSWERED}


def _texts(english: tuple[str, str], chinese: tuple[str, str]) -> dict[str, Annotations]:
    written = {"en": english, "zh": chinese}
    return {language: Annotations(texts=[Text(*written[language])]) for language in _ANSWERED}


_PLAIN = {
    "en": [("abstract", "Aspirin eased pain. It raised expression of COX-2.")],
    "zh": [("abstract", "阿司匹林缓解头痛，患者咳嗽减少。")],
}
_PAIR = {
    "en": [("text", "Aspirin eases pain."), ("text", "Pain is relieved by aspirin.")],
    "zh": [("text", "阿司匹林能止痛吗？"), ("text", "阿司匹林可以缓解疼痛吗？")],
}
_VISIT = {
    "en": [("patient", "I have a headache."), ("doctor", "Since when?"), ("patient", "Two days.")],
    "zh": [("patient", "我头痛。"), ("doctor", "多久了？"), ("patient", "两天。")],
}

EXAMPLES: dict[str, Example] = {
    "ner": Example(
        {"types": ["chemical", "symptom"], "ask": "together"},
        _PLAIN,
        {
            "en": Annotations(_mentions(("chemical", "Aspirin", 0), ("symptom", "pain", 14))),
            "zh": Annotations(
                _mentions(
                    ("chemical", "阿司匹林", 0), ("symptom", "头痛", 6), ("symptom", "咳嗽", 11)
                )
            ),
        },
    ),
    "re": Example(
        {"relations": ["treatment"]},
        _PLAIN,
        {
            "en": Annotations(relations=[Relation(0, "treatment", "pain", "Aspirin", [], [])]),
            "zh": Annotations(relations=[Relation(0, "treatment", "头痛", "阿司匹林", [], [])]),
        },
    ),
    "ee": Example(
        {
            "types": {
                "regulation": {
                    "en": "Regulation",
                    "zh": "变化",
                    "roles": {
                        "theme": {"en": "Theme", "zh": "对象"},
                        "cause": {"en": "Cause", "zh": "原因"},
                    },
                }
            }
        },
        _PLAIN,
        {
            "en": Annotations(
                _mentions(("regulation", "raised", 23), (None, "expression", 30), (None, "It", 20)),
                events=[
                    Event(
                        0,
                        "regulation",
                        0,
                        [Argument("theme", 1, "expression"), Argument("cause", 2, "It")],
                    )
                ],
            ),
            "zh": Annotations(
                _mentions(("regulation", "减少", 13), (None, "咳嗽", 11)),
                events=[Event(0, "regulation", 0, [Argument("theme", 1, "咳嗽")])],
            ),
        },
    ),
    "tc": Example(
        {
            "labels": {"treatment": {"zh": "治疗"}, "prevention": {"zh": "预防"}},
            "several": True,
        },
        _PLAIN,
        _labels("tc", "treatment"),
    ),
    "qa": Example(
        {"form": "yes_no_maybe", "questions": {"eases": "Does aspirin ease pain?"}},
        _PLAIN,
        _labels("qa:eases", "yes"),
    ),
    "mt": Example(
        {},
        _PLAIN,
        _texts(
            ("mt:zh", "阿司匹林减轻了疼痛，并提高了COX-2的表达。"),
            ("mt:en", "Aspirin relieved headache, and the patient coughed less."),
        ),
    ),
    "title": Example(
        {}, _PLAIN, _texts(("title", "Aspirin in pain"), ("title", "阿司匹林治疗头痛"))
    ),
    "summary": Example(
        {"sentences": 1},
        _PLAIN,
        _texts(("summary", "Aspirin eased pain."), ("summary", "阿司匹林有效。")),
    ),
    "similarity": Example({}, _PAIR, _labels("similarity", "similar")),
    "entailment": Example({}, _PAIR, _labels("entailment", "entailment")),
    "dialogue": Example(
        {}, _VISIT, _texts(("dialogue", "Do you have a fever?"), ("dialogue", "发烧吗？"))
    ),
    "report": Example(
        {"sections": ["chief_complaint", "diagnosis", "advice"]},
        _VISIT,
        _texts(
            ("report:chief_complaint", "headache for two days"),
            ("report:chief_complaint", "头痛两天"),
        ),
    ),
}


def _asked(task: Task, language: str) -> tuple[Question, str]:
    """The example's question in a language, and the right answer."""
    example = EXAMPLES[task.name]
    (assignment,) = assign([task.name], {task.name: example.options})
    (question,) = assignment.questions(example.document(language))
    return question, task.target(question, example.gold[language])


def table() -> str:
    """The tasks as a Markdown table: what each does, its options, an answer, its results."""
    rows = [
        "| Task | What | Options | An answer | Results |",
        "|---|---|---|---|---|",
    ]
    for task in TASKS.values():
        options = ", ".join(f"`{name}`" for name in task.options.model_fields if name != "wording")
        answer = _asked(task, "en")[1].replace("\n", "⏎")
        rows.append(f"| `{task.name}` | {task.summary} | {options} | `{answer}` | {task.results} |")
    return "\n".join(rows) + "\n"


_INTRODUCTION = """# Tasks

Made from `taiyi_ray/tasks/` by `make docs`. `--tasks` names what to do, a task file (`--task-file`,
YAML: names of tasks, and the options of each) says how; [examples/tasks/](../examples/tasks/) has
one for each. Without `--tasks`, the tasks of the file are done; with it, those that it names, with
the file's options where it has some. `--types`, `--relations` and `--ask` win over the file.

"""
_RULES = """
Every task also takes `wording`: which of its question's twenty wordings to use, counted from 1. The
first three say all that a model must know; 4 is the shortest, for models that were trained on them.

- **Language.** English passages are asked about in English, Chinese ones in Chinese. A bilingual
  document has two questions; the names of types and labels in the rows are the same in both.
- **Not applicable.** A task that has nothing to ask of a document leaves an entry of the kind
  `not_applicable` in `errors`, with its reason; the status stays as it is.
- **Long documents** are cut into windows. Mentions, relations, events and several labels are
  united; texts are joined by a line feed; of one label, the first that was given counts. `title`,
  and `tc` with one label, ask about the first window only, `dialogue` about the last turns; of a
  pair each text is shown up to half of the room.
- **Grammar.** Under `--grounding grammar` mentions, triggers and arguments are pieces of the text,
  a label is one of the labels, a report has its sections. Free texts have no grammar.
- **Places.** A mention is located at each of its occurrences in the window that was asked about. An
  event happens once: its trigger stands where its arguments are nearest, and they at the
  occurrences nearest to it.
- **Lines.** A line end in running text is white space: a mention goes on in the next line. An
  answer has a blank there, nothing between Chinese characters; the row has the document's text.
  No mention crosses an empty line or the end of a passage.
- **Parts.** Where a task has several results, their name follows behind a colon: `mt:zh`,
  `qa:safe`, `report:diagnosis`.
- **Answer forms** are those that [Taiyi](https://github.com/DUTIR-BioNLP/Taiyi-LLM) publishes: of
  `ner`, `re`, `ee`, `tc`, `similarity`, `mt`, `title`, `dialogue`, free `qa` and the Chinese
  `report`. It shows none for the others, nor for an answer that finds nothing: those are ours.

The examples below are of each task's first wording, for a document asked about alone; with several
questions on a document it comes before the instruction.
"""


def manual() -> str:
    """docs/tasks.md: the table, the rules, and a section for each task."""
    return _INTRODUCTION + table() + _RULES + "".join(map(_section, TASKS.values()))


def _section(task: Task) -> str:
    options = [
        f"- `{name}`{', required' if field.is_required() else ''}: {field.description}"
        for name, field in task.options.model_fields.items()
        if name != "wording"
    ]
    blocks = [f"## `{task.name}`: {task.summary}", "\n".join(options)]
    for language, named in _ANSWERED.items():
        question, answer = _asked(task, language)
        messages = question.messages
        said = [f"[{m['role']}] {m['content']}" for m in messages]
        shown = said if len(messages) > 1 else [messages[0]["content"]]
        blocks += [f"{named}, question and answer:", _code("\n".join(shown)), _code(answer)]
    return "\n" + "\n\n".join(block for block in blocks if block) + "\n"


def _code(text: str) -> str:
    return f"```\n{text}\n```"


class Described(BaseModel):
    """A task for who wants to ask it: what it does, its options, and an example that works.

    Attributes:
        options: their meanings by name, whether they are required, and what they are by default.
        needs_options: whether it cannot be asked without.
        example: body of a request (`documents`, `tasks`, `options`).
        answers: what a model should write, by language.
    """

    name: str
    summary: str
    results: str
    version: int
    options: dict[str, Any]
    needs_options: bool
    example: dict[str, Any]
    answers: dict[str, str]


@functools.cache
def described() -> list[Described]:
    """All tasks, in the order of their table."""
    found = []
    for task in TASKS.values():
        example = EXAMPLES[task.name]
        documents = [
            {
                "document_id": language,
                "passages": [
                    {"type": type_, "language": language, "text": text} for type_, text in parts
                ],
            }
            for language, parts in example.passages.items()
        ]
        found.append(
            Described(
                name=task.name,
                summary=task.summary,
                results=task.results,
                version=task.version,
                options=_schema(task),
                needs_options=any(f.is_required() for f in task.options.model_fields.values()),
                example={
                    "documents": documents,
                    "tasks": [task.name],
                    "options": {task.name: dict(example.options)},
                },
                answers={language: _asked(task, language)[1] for language in _ANSWERED},
            )
        )
    return found


def _schema(task: Task) -> dict[str, Any]:
    """Names and meanings of the options; forms that a validator reads are said in words."""
    return {
        name: {"description": field.description, "required": field.is_required()}
        | ({} if field.is_required() else {"default": _default(field.default)})
        for name, field in task.options.model_fields.items()
    }


def _default(value: Any) -> Any:
    """A default as a request would say it: terms by their names."""
    return [term.name for term in value] if isinstance(value, tuple) else value
