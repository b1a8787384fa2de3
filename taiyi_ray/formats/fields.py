"""A field map: which column or key of a record is what, for tables and JSON of any shape.

    fields: {document_id: ID, text: dialogue}         what the document is made of
    labels: {tc: section_header}                      its classes, by task
    texts: {summary: section_text}                    texts that were written about it, by task

A field may be a list of columns or keys: each gives a passage, a choice, a label. Keys that no
field names become metadata.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, Self, get_args

from pydantic import Field, model_validator

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language
from taiyi_ray.formats.conll import tagged, tell_odd
from taiyi_ray.formats.format import FormatOptions
from taiyi_ray.formats.gold import Gold, placed, whole
from taiyi_ray.formats.json_lines import flat, invalid
from taiyi_ray.formats.unplaced import Unplaced
from taiyi_ray.records import Concept, Document, Label, Text, passages

Role = Literal[
    "document_id", "title", "text", "text_1", "text_2", "question", "choices", "dialogue",
    "speaker", "tags", "language", "mention", "start", "end", "type", "term", "concept",
    "concept_name", "relation",
]  # fmt: skip
"""What a field can be."""

Speaker = Literal["patient", "doctor", "user", "assistant"]

Get = Callable[[str], list[object]]
"""Returns the values of a column or key; of an absent one none, or it raises FormatError."""

_SHOWN: Final = ("title", "text", "text_1", "text_2", "question", "dialogue", "term")
_OF_MENTIONS: Final = frozenset({"start", "end", "type"})
_SPEAKERS: Final = frozenset(get_args(Speaker))
_SCHEME: Final = "iob2"
_SPEAKER: Final = re.compile(r"\s*+([^:：\n]{1,40}?)\s*+[:：]\s*")
_LETTERS: Final = re.compile("[A-Z]+")


class FieldMap(FormatOptions):
    """Which column or key of a record is what."""

    fields: dict[Role, str | list[str]] = Field(
        description="the column or key of each part of a document; one at least of "
        + ", ".join(_SHOWN)
    )
    labels: dict[str, str | list[str]] = Field(
        {}, description="the column or key of the labels of each task"
    )
    texts: dict[str, str | list[str]] = Field(
        {}, description="the column or key of the text that each task writes (`mt:zh`, `summary`)"
    )
    separator: str | None = Field(
        None,
        min_length=1,
        description="what stands between several labels, or concepts of a term, in one value",
    )
    answer: Literal["letter", "text", "from_0", "from_1"] = Field(
        "letter",
        description="what the label of `qa` says of the right choice: its letter, its words, or "
        "its number",
    )
    end: Literal["exclusive", "inclusive"] = Field(
        "exclusive",
        description="whether the end of a mention is behind its last character or on it",
    )
    type: str = Field("term", description="the type of mentions that no field gives a type")
    speakers: dict[str, Speaker] = Field(
        {"Doctor": "doctor", "Patient": "patient", "医生": "doctor", "患者": "patient"},
        description="who the speakers of a dialogue are: those of the field `speaker`, or of the "
        "lines `NAME: ...`",
    )
    turns: list[Speaker] = Field(
        [], description="who speaks in turn, where the values of `dialogue` name no speakers"
    )
    last_turn: str | None = Field(
        None,
        min_length=1,
        description="the task whose text the last turn is, if the doctor or assistant speaks it",
    )
    marks: list[list[str]] = Field(
        [],
        description="the signs before and behind the head of the `relation` in the text, and "
        "those of its tail, which are taken out: `[['<< ', ' >>'], ['[[ ', ' ]]']]`",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.fields.keys() & set(_SHOWN):
            raise ValueError(f"fields: expected one at least of {', '.join(_SHOWN)}")
        if not self.fields.keys() & {"mention", "tags"} and self.fields.keys() & _OF_MENTIONS:
            raise ValueError("fields: start, end and type belong to a mention, which is missing")
        if self.fields.keys() & {"speaker", "tags"} and "dialogue" not in self.fields:
            raise ValueError("fields: speaker and tags belong to a dialogue, which is missing")
        if "tags" in self.fields and not ("speaker" in self.fields or self.turns):
            raise ValueError("fields: tags want to know the turns: name a speaker, or `turns`")
        if {"term", "text"} <= self.fields.keys():
            raise ValueError("fields: a term is the whole text: give one of them")
        if ("relation" in self.fields) != bool(self.marks):
            raise ValueError("a relation wants marks, and nothing else does")
        if self.marks and not (len(self.marks) == 2 and all(map(_is_pair, self.marks))):
            raise ValueError("marks: expected two pairs of signs")
        return self

    def named(self) -> set[str]:
        """Return the columns or keys that the map names."""
        groups = (self.fields, self.labels, self.texts)
        return {name for group in groups for names in group.values() for name in _listed(names)}


def _is_pair(signs: list[str]) -> bool:
    return len(signs) == 2 and all(signs)


def _listed(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def document_of(get: Get, options: FieldMap) -> Document:
    """Turn the values of a record into a Document with its gold; raises FormatError."""
    fields = _Fields(get, options)
    stated = next(fields.strings("language"), None)
    questions = list(fields.strings("question"))
    choices = fields.choices(len(questions))
    parts = [("title", text) for text in fields.strings("title")]
    for role in ("text", "term", "text_1", "text_2"):
        type_ = "text" if role == "term" else role
        parts += [(type_, text) for text in fields.strings(role)]
    marked: list[tuple[int, int]] = []
    if options.marks:
        parts, marked = _without_marks(parts, options.marks)
    turns = fields.turns()
    last = turns[-1] if options.last_turn and _answers(turns) else None
    parts += [(turn.speaker, turn.text) for turn in turns if turn is not last]
    for question, offered in zip(questions, choices, strict=True):
        parts += [("question", question), *(("choice", text) for text in offered if text)]
    laid = passages(
        (type_, language.normalised(stated or language.of_text(text)), text)
        for type_, text in parts
    )
    document = Document(
        next(fields.strings("document_id"), None),
        laid,
        language=language.normalised(stated) if stated else None,
        title=next(fields.strings("title"), None),
    )
    gold = Gold(document, [passage.offset for passage in document.passages])
    fields.give_mentions(gold, document)
    fields.give_tagged(gold, document, turns, last)
    fields.give_relation(gold, document, marked)
    gold.settle()
    document.gold.labels += fields.found_labels(choices)
    document.gold.texts += fields.found_texts(len(questions))
    if last and options.last_turn:
        document.gold.texts.append(Text(options.last_turn, last.text))
    return document


class _Turn(NamedTuple):
    """A turn of a dialogue.

    Attributes:
        speaker: the type of its passage.
        text: what is said.
        tags: the tag of each of its characters, where the record has some.
    """

    speaker: str
    text: str
    tags: str = ""


def _answers(turns: Sequence[_Turn]) -> bool:
    return bool(turns) and turns[-1].speaker in ("doctor", "assistant")


def _without_marks(
    parts: list[tuple[str, str]], marks: list[list[str]]
) -> tuple[list[tuple[str, str]], list[tuple[int, int]]]:
    """Take the marks out of the one text; return the parts, and where the marked pieces stand."""
    if len(parts) != 1:
        raise FormatError("invalid_record", f"marks in {len(parts)} texts, expected one")
    ((type_, text),) = parts
    signs: list[tuple[int, int]] = []
    for opens, closes in marks:
        if text.count(opens) != 1:
            message = (
                f"the sign {opens!r:.20} stands {text.count(opens)} times in the text, not once"
            )
            raise FormatError("invalid_record", message)
        start = text.index(opens)
        end = text.find(closes, start + len(opens))
        if end < 0:
            raise FormatError("invalid_record", f"no {closes!r:.20} stands behind {opens!r:.20}")
        signs += [(start, len(opens)), (end, len(closes))]
    places = [at - sum(length for other, length in signs if other < at) for at, _ in signs]
    for at, length in sorted(signs, reverse=True):
        text = text[:at] + text[at + length :]
    return [(type_, text)], list(zip(places[::2], places[1::2], strict=True))


class _Fields:
    """The values of one record by their roles."""

    def __init__(self, get: Get, options: FieldMap) -> None:
        self._get, self._options = get, options

    def _values(self, names: str | list[str]) -> list[object]:
        return [value for name in _listed(names) for value in self._get(name)]

    def values(self, role: Role) -> list[object]:
        """Return the values of a role, none where the map has no such role."""
        names = self._options.fields.get(role)
        return [] if names is None else self._values(names)

    def strings(self, role: Role) -> Iterator[str]:
        """Yield the values of a role that are not empty, as texts."""
        for value in self.values(role):
            if value not in (None, ""):
                yield _text(role, value)

    def turns(self) -> list[_Turn]:
        """Return the turns of a dialogue: its values with their speakers, or its lines."""
        said = self.values("dialogue")
        speakers = self._speakers(len(said))
        if speakers is None:
            texts = (text for text in self.strings("dialogue"))
            return [turn for text in texts for turn in self._turns_in(text)]
        tags = self.values("tags")
        found = []
        for number, (speaker, value) in enumerate(zip(speakers, said, strict=True)):
            text = "" if value is None else _text("dialogue", value)
            tag = _at(tags, number)
            found.append(_Turn(speaker, text, "" if tag is None else _text("tags", tag)))
        return found

    def _speakers(self, turns: int) -> list[str] | None:
        """Return the speaker of each turn; None where the turns are the lines of a text."""
        names = self.values("speaker")
        if "speaker" not in self._options.fields:
            in_turn = self._options.turns
            return [in_turn[n % len(in_turn)] for n in range(turns)] if in_turn else None
        if len(names) != turns:
            raise FormatError("invalid_record", f"{len(names)} speakers of {turns} turns")
        known = self._options.speakers
        for name in names:
            if name not in known:
                message = f"the speaker {name!r:.80} is none of {', '.join(known)}"
                raise FormatError("invalid_record", message)
        return [known[str(name)] for name in names]

    def _turns_in(self, dialogue: str) -> Iterator[_Turn]:
        """Yield the turns of a text; a line without a known speaker belongs to the turn above."""
        turns: list[tuple[str, list[str]]] = []
        for line in dialogue.splitlines():
            said = _SPEAKER.match(line)
            speaker = self._options.speakers.get(said[1]) if said else None
            if said and speaker:
                turns.append((speaker, [line[said.end() :].strip()]))
            elif turns:
                turns[-1][1].append(line.strip())
            else:
                turns.append(("text", [line.strip()]))
        for type_, lines in turns:
            yield _Turn(type_, "\n".join(line for line in lines if line))

    # ------------------------------------------------------------------------------- questions

    def choices(self, questions: int) -> list[list[str]]:
        """Return the choices of each question; an empty one has its letter, but is no passage."""
        found = self.values("choices") if questions else []
        if questions == 1:
            found = [found]
        elif found and len(found) != questions:
            raise FormatError(
                "invalid_record", f"{len(found)} lists of choices, {questions} questions"
            )
        offered = []
        for one in found or [[]] * questions:
            texts = one if isinstance(one, list) else [one]
            texts = [text for each in texts for text in (_of_object(each) or [each])]
            offered.append(["" if t is None else _text("choices", t).strip() for t in texts])
        return offered

    def found_labels(self, choices: Sequence[Sequence[str]]) -> Iterator[Label]:
        """Yield the labels; those of questions with choices are the letters of these."""
        for task, names in self._options.labels.items():
            values = self._values(names)
            for number, value in enumerate(values):
                asked = _asked(task, number, len(choices), len(values))
                offered = choices[number if len(choices) > 1 else 0] if choices else ()
                for label in self._labels(value):
                    chosen = self._letters(label, offered) if task == "qa" and offered else [label]
                    yield from (Label(asked, one) for one in chosen)

    def _labels(self, value: object) -> list[str]:
        values = value if isinstance(value, list) else [value]
        found = [_text("a label", one) for one in values if one not in (None, "")]
        return self._divided(found)

    def _divided(self, values: list[str]) -> list[str]:
        """Divide values at the separator; blanks around the parts are none of them."""
        if self._options.separator is None:
            return values
        parts = (part.strip() for value in values for part in value.split(self._options.separator))
        return [part for part in parts if part]

    def _letters(self, label: str, offered: Sequence[str]) -> list[str]:
        """Return the letters of the right choices, as the label states these.

        Choices behind an empty one move up by a letter, because the empty one is no passage.
        """
        how = self._options.answer
        numbers: list[int] = []
        if how == "text":
            numbers = [n for n, choice in enumerate(offered) if choice == label.strip()][:1]
        elif how == "letter" and _LETTERS.fullmatch(label.strip()):
            numbers = [string.ascii_uppercase.index(letter) for letter in label.strip()]
        elif how != "letter" and (number := whole(label)) is not None:
            numbers = [number - (how == "from_1")]
        there = [n for n, choice in enumerate(offered) if choice][: len(string.ascii_uppercase)]
        if not numbers or not set(numbers) <= set(there):
            message = f"the answer {label!r:.80} is none of the {len(there)} choices"
            raise FormatError("invalid_record", message)
        return [string.ascii_uppercase[there.index(n)] for n in numbers]

    def found_texts(self, questions: int) -> Iterator[Text]:
        """Yield the texts that were written about the document."""
        for task, names in self._options.texts.items():
            values = self._values(names)
            for number, value in enumerate(values):
                if value not in (None, ""):
                    text = _text("a text", value)
                    yield Text(_asked(task, number, questions, len(values)), text)

    # -------------------------------------------------------------------------------- mentions

    def give_mentions(self, gold: Gold, document: Document) -> None:
        """Add the mentions, or the one mention that a term is, with their concepts."""
        concepts = self._concepts()
        each = [one for concept in concepts for one in self._each(concept)]
        for term in (term.strip() for term in self.strings("term")):
            at = document.text.find(term)
            place = (at, at + len(term))
            for number, one in enumerate(each or [None]):
                gold.mention(str(number), self._options.type, term, [place], concept=one)
        found = self.values("mention")
        starts, ends, types = (self.values(role) for role in ("start", "end", "type"))
        unplaced = Unplaced(gold, document)
        for number, mention in enumerate(found):
            if mention in (None, ""):
                continue
            text = _text("a mention", mention)
            type_ = _at(types, number)
            type_ = self._options.type if type_ in (None, "") else _text("a type", type_)
            concept = concepts[number] if number < len(concepts) else None
            if not starts:
                unplaced.mentions(type_, text, concept)
                continue
            start, end = _at(starts, number), _at(ends, number)
            first, last = whole(start), whole(end)
            if last is not None and self._options.end == "inclusive":
                end = last + 1
            if not ends and first is not None:
                end = first + len(text)
            ranges, misplaced = placed([(start, end)])
            gold.mention(str(number), type_, text, ranges, misplaced=misplaced, concept=concept)

    def give_tagged(
        self, gold: Gold, document: Document, turns: Sequence[_Turn], last: _Turn | None
    ) -> None:
        """Add the mentions that the tags of the turns mark, with their types and concepts in order.

        Where there are more or fewer types or concepts than mentions, nobody knows whose they are.
        A mention in the last turn is left out if that is no passage.
        """
        if "tags" not in self._options.fields:
            return
        passages_ = iter(p for p in document.passages if p.type in _SPEAKERS)
        places: list[tuple[str | None, tuple[int, int] | None]] = []
        odd: list[str] = []
        for turn in turns:
            passage = next(passages_) if turn.text and turn is not last else None
            tags = turn.tags.split() if " " in turn.tags else list(turn.tags)
            if tags and len(tags) != len(turn.text):
                gold.leave_out("turns with more or fewer tags than characters")
                continue
            for type_, first, end in tagged(tags, _SCHEME, odd):
                at = None if passage is None else passage.offset
                places.append((type_, None if at is None else (at + first, at + end + 1)))
        types, concepts = self.values("type"), self._concepts()
        for values, what in ((types, "types"), (concepts, "concepts")):
            if places and values and len(values) != len(places):
                gold.leave_out(f"lists of {what} that do not fit the tags")
        text = document.text
        for number, (tag, place) in enumerate(places):
            if place is None:
                gold.leave_out("mentions in the last turn, which is no passage")
                continue
            listed = _at(types, number) if len(types) == len(places) else None
            type_ = tag or (self._options.type if listed is None else _text("a type", listed))
            concept = concepts[number] if len(concepts) == len(places) else None
            gold.mention(f"t{number}", type_, text[slice(*place)], [place], concept=concept)
        tell_odd(document, odd, _SCHEME)

    def give_relation(
        self, gold: Gold, document: Document, marked: Sequence[tuple[int, int]]
    ) -> None:
        """Add the relation between the two pieces that marks enclosed."""
        text = document.text
        for key, (start, end) in zip(("head", "tail"), marked, strict=False):
            gold.mention(key, None, text[start:end], [(start, end)])
        for number, type_ in enumerate(self.strings("relation")):
            gold.relation(str(number), type_, ["head"], ["tail"])

    def _concepts(self) -> list[Concept | None]:
        """Return the concept of each mention, None where it has none."""
        names = self.values("concept_name")
        found: list[Concept | None] = []
        for number, value in enumerate(self.values("concept")):
            name = _at(names, number)
            stated = "" if value is None else _text("a concept", value)
            shown = stated if name in (None, "") else _text("a concept's name", name)
            found.append(Concept("", stated, shown) if stated else None)
        return found

    def _each(self, concept: Concept | None) -> list[Concept]:
        """Return the concepts that stand in one value; each of several has its id as its name."""
        ids = self._divided([concept.id]) if concept else []
        if concept and len(ids) == 1:
            return [Concept("", ids[0], concept.name if concept.name != concept.id else ids[0])]
        return [Concept("", id_, id_) for id_ in ids]


def _at(values: Sequence[object], number: int) -> object:
    return values[number] if number < len(values) else None


def _asked(task: str, number: int, questions: int, values: int) -> str:
    """Return the task of a result: results of one of several questions have its number."""
    return f"{task}:{number + 1}" if task == "qa" and questions > 1 and values > 1 else task


def _of_object(value: object) -> list[object]:
    """Return the values of an object: of choices by their letters, in this order."""
    return [one for _, one in sorted(value.items())] if isinstance(value, dict) else []


def _text(what: str, value: object) -> str:
    """Return a value as a text; raises FormatError for an object or a list."""
    if isinstance(value, dict | list):
        raise invalid(what, "a text", value)
    return value if isinstance(value, str) else flat(value)
