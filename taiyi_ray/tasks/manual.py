"""The manual of the tasks, made from their table: docs/tasks.md (`make docs`)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from taiyi_ray.records import (
    COREFERENCE,
    Annotations,
    Argument,
    Concept,
    Document,
    Event,
    Label,
    Mention,
    Relation,
    Text,
    passages,
)
from taiyi_ray.tasks import TASKS, assign
from taiyi_ray.tasks.options import TaskOptions
from taiyi_ray.tasks.task import Question, Task
from taiyi_ray.tasks.template import AskingForm
from taiyi_ray.tasks.vocabulary import LANGUAGES, Term

_OF_ALL = TaskOptions.model_fields.keys()
"""The options that every task has."""


@dataclass(frozen=True, slots=True)
class Example:
    """A document in each language, what is asked about it, and the right annotations.

    Attributes:
        options: the options of the task.
        passages: type and text of each passage, by language.
        gold: the annotations that a right answer states, by language.
    """

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


def _concept(text: str, start: int) -> Mention:
    concept = Concept("MESH", "D001241", "Aspirin")
    return Mention(0, None, text, start, start + len(text), concept=concept)


def _same(head: str, tail: str) -> Relation:
    return Relation(0, COREFERENCE, head, tail, [0], [1])


def _labels(task: str, label: str) -> dict[str, Annotations]:
    return {language: Annotations(labels=[Label(task, label)]) for language in LANGUAGES}


def _texts(english: tuple[str, str], chinese: tuple[str, str]) -> dict[str, Annotations]:
    written = {"en": english, "zh": chinese}
    return {language: Annotations(texts=[Text(*written[language])]) for language in LANGUAGES}


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
            "multi_label": True,
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
    "nen": Example(
        {
            "terms": {
                "D001241": ["Aspirin", "acetylsalicylic acid", "阿司匹林"],
                "D010146": ["Pain", "疼痛"],
                "D006261": ["Headache", "头痛"],
            },
            "db": "MESH",
            "mentions": "names",
            "candidates": 2,
        },
        {
            "en": [("abstract", "Acetylsalicylic acid was given.")],
            "zh": [("abstract", "给予阿司匹林口服。")],
        },
        {
            "en": Annotations([_concept("Acetylsalicylic acid", 0)]),
            "zh": Annotations([_concept("阿司匹林", 2)]),
        },
    ),
    "coref": Example(
        {},
        {
            "en": [("abstract", "The patient took aspirin. She slept well.")],
            "zh": [("abstract", "患者服用阿司匹林。她睡得很好。")],
        },
        {
            "en": Annotations(
                _mentions((None, "The patient", 0), (None, "She", 26)),
                [_same("The patient", "She")],
            ),
            "zh": Annotations(_mentions((None, "患者", 0), (None, "她", 9)), [_same("患者", "她")]),
        },
    ),
    "act": Example(
        {"turns": "last"},
        _VISIT,
        _labels("act", "inform_symptom"),
    ),
    "causal": Example(
        {},
        {
            "en": [("abstract", "Smoking causes cancer if it goes on for years.")],
            "zh": [("abstract", "长期吸烟可导致肺癌。")],
        },
        {
            "en": Annotations(
                _mentions(
                    (None, "Smoking", 0),
                    (None, "cancer", 15),
                    (None, "goes on for years", 28),
                ),
                events=[
                    Event(
                        0,
                        "causation",
                        None,
                        [
                            Argument("cause", 0, "Smoking"),
                            Argument("effect", 1, "cancer"),
                            Argument("condition", 2, "goes on for years"),
                        ],
                    )
                ],
            ),
            "zh": Annotations(
                _mentions((None, "吸烟", 2), (None, "肺癌", 7)),
                events=[
                    Event(
                        0,
                        "causation",
                        None,
                        [Argument("cause", 0, "吸烟"), Argument("effect", 1, "肺癌")],
                    )
                ],
            ),
        },
    ),
    "text2dt": Example(
        {},
        {
            "en": [("text", "In fever give ibuprofen; without fever no treatment is needed.")],
            "zh": [("text", "发热者给予布洛芬，无发热者无需治疗。")],
        },
        _texts(
            (
                "text2dt",
                "Condition: [patient, symptom, fever]\nDecision: [patient, drug, ibuprofen]\n"
                "Decision: none",
            ),
            (
                "text2dt",
                "条件：[患者, 临床表现, 发热]\n决策：[患者, 治疗药物, 布洛芬]\n决策：无",
            ),
        ),
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
        own = [name for name in task.options.model_fields if name not in _OF_ALL]
        options = ", ".join(f"`{name}`" for name in own)
        answer = _asked(task, "en")[1].replace("\n", "⏎")
        rows.append(f"| `{task.name}` | {task.summary} | {options} | `{answer}` | {task.results} |")
    return "\n".join(rows) + "\n"


_INTRODUCTION = """# Tasks

Made from `taiyi_ray/tasks/` by `make docs`.

`--tasks` names the tasks of a run. A task file (`--task-file`) sets their options: it is a YAML
file with the names of tasks and the options of each; [examples/tasks/](../examples/tasks/) has one
for every task. Without `--tasks`, a run does all tasks of the file. With it, a run does the tasks
that it names, with the options that the file has for them. `--types`, `--relations` and `--ask`
replace what the file says.

"""
_RULES = """
Every task also has the option `wording`: the number of the wording of its question, from 1 to 20.
The first three say all that a model must know. Wording 4 is the shortest; it is for models that
were trained on these wordings. `--wording` sets it for all tasks; `--wording short` means wording 4
and answers that keep their head when they say that there is nothing, so that the prompt can hold
the head. Without either, the model's folder says what it wants.

The option `languages`, which every task has too, names the languages that a text is asked about in:
`{ner: {languages: [en]}}` leaves Chinese texts out. Without it, the model's folder may name those
that the model knows; a text in another is then not applicable.

- **Language.** Questions about English passages are in English, questions about Chinese passages in
  Chinese. A document with passages in both languages gets two questions. The names of types and
  labels in the rows are the same for both languages.
- **Not applicable.** When a task has nothing to ask about a document, the row has an entry of the
  kind `not_applicable` in `errors`, with the reason. It does not change the status.
- **Long documents** are cut into windows. The mentions, relations and events of all windows are put
  together, and so are the labels, if more than one may be true. Where only one label may be true,
  the label of the first window that has one counts. The texts of all windows are joined by line
  feeds. `title`, and `tc` with one label, ask about the first window only. `dialogue` shows only
  the last turns that fit. `similarity` and `entailment` show the beginning of each text.
- **Grammar.** With `--grounding grammar`, mentions, triggers and arguments can only be pieces of
  the text, a label can only be one of the given ones, and a report has exactly its sections. Free
  texts have no grammar.
- **Occurrences.** A mention is located at each of its occurrences in the window that was asked
  about. An event happens once. So its trigger is located at the occurrence that has the arguments
  nearest to it, and each argument at the occurrence nearest to the trigger.
- **Lines.** A line end in running text is white space, so a mention may begin in one line and end
  in the next. In an answer, a blank stands for that line end, or nothing between Chinese
  characters; the row has the text of the document. No mention crosses an empty line or the end of a
  passage.
- **Relations between mentions.** With `ends: mentions`, `re` is asked behind `ner`, about the
  relations that have mentions of both their types in the window, and a pair can only name those
  mentions. A run without `ner`, or one that does not ask it for the types of a relation, asks about
  that relation as without the option.
- **Known mentions.** `nen` asks about the mentions that the input has, one question for each
  different wording: annotate with `ner`, `taiyi-ray export` the mentions, and annotate what was
  exported with `nen`. With `mentions: names` it looks for the names of the terminology itself. A
  mention that means none of the entries is not in the row.
- **Chains.** `coref` finds chains within a window. Of the occurrences of the words of a mention, it
  takes the first one behind the mention before it in its chain.
- **Parts.** When a task has more than one result for a document, the name of the part follows the
  name of the task: `mt:zh`, `qa:safe`, `report:diagnosis`, `act:3`.
- **Answer forms.** [Taiyi](https://github.com/DUTIR-BioNLP/Taiyi-LLM) publishes the forms of `ner`,
  `re`, `ee`, `tc`, `similarity`, `mt`, `title`, `dialogue`, free `qa` and the Chinese `report`. It
  publishes none for the other tasks, nor for an answer that finds nothing: those forms are ours.

The examples below show the first wording of each task, asked alone. When there is more than one
question about a document, the document stands before the instruction.
"""


def manual() -> str:
    """docs/tasks.md: the table, the rules, and a section for each task."""
    return _INTRODUCTION + table() + _RULES + "".join(map(_section, TASKS.values()))


def _section(task: Task) -> str:
    options = [
        f"- `{name}`{', required' if field.is_required() else ''}: {field.description}"
        for name, field in task.options.model_fields.items()
        if name not in _OF_ALL
    ]
    blocks = [f"## `{task.name}`: {task.summary}", "\n".join(options)]
    for language, named in LANGUAGES.items():
        question, answer = _asked(task, language)
        messages = question.messages
        said = [f"[{m['role']}] {m['content']}" for m in messages]
        shown = said if len(messages) > 1 else [messages[0]["content"]]
        blocks += [f"{named}, question and answer:", _code("\n".join(shown)), _code(answer)]
    return "\n" + "\n\n".join(block for block in blocks if block) + "\n"


def _code(text: str) -> str:
    return f"```\n{text}\n```"


class Described(BaseModel):
    """What a client needs to know of a task: what it does, its options, and an example that works.

    Attributes:
        name: the name of the task.
        summary: what the task does, in one line.
        results: the columns that hold its results, and the names of the results there.
        version: the version of the task.
        options: for each option its meaning, whether it is required, and its default.
        needs_options: whether some option is required.
        example: the body of a request that works (`documents`, `tasks`, `options`).
        answers: what a model should answer in the example, by language.
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
    tasks = []
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
        tasks.append(
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
                answers={language: _asked(task, language)[1] for language in LANGUAGES},
            )
        )
    return tasks


def described_to(form: AskingForm) -> list[Described]:
    """All tasks, with the defaults that count for a model which wants this form."""
    told = []
    for one in described():
        options = dict(one.options)
        for name, value in TASKS[one.name].defaults(form).items():
            options[name] = options[name] | {"default": _default(value)}
        told.append(one.model_copy(update={"options": options}))
    return told


def _schema(task: Task) -> dict[str, Any]:
    """The options of a task: for each its meaning, whether it is required, and its default.

    This is no JSON schema, because most options are read by validators of our own, in more than one
    form. Their descriptions say the forms in words.
    """
    return {
        name: {"description": field.description, "required": field.is_required()}
        | ({} if field.is_required() else {"default": _default(field.default)})
        for name, field in task.options.model_fields.items()
    }


def _default(value: Any) -> Any:
    """A default in the form that a request has it in: terms by their names."""
    if isinstance(value, tuple):
        return [each.name if isinstance(each, Term) else each for each in value]
    return value
