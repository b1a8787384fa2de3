"""MEDIQA's XML: pairs of questions (task RQE), and questions with ranked answers (task QA).

    <pair pid="1" value="true"><chq>a long question</chq><faq>a short one</faq></pair>
    <Question QID="2"><QuestionText>...</QuestionText><AnswerList><Answer AID="2_1"
      ReferenceRank="3"><AnswerText>...</AnswerText></Answer></AnswerList></Question>

Ben Abacha et al. 2019 (aclanthology.org/W19-5039). A pair is two passages and a label of
`entailment`, `true` or `false`. Of a question's answers, the one of the best reference rank is the
text of `qa`; the others are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from pydantic import Field

from taiyi_ray.errors import FormatError
from taiyi_ray.formats import language, xml_elements, xml_scanner
from taiyi_ray.formats.format import FormatOptions, NamedFormat, RawRecord
from taiyi_ray.formats.gold import whole
from taiyi_ray.formats.xml_elements import Element, local_name
from taiyi_ray.records import Document, Label, Text, passages

_TASKS: Final = {
    "MEDIQA2019-Task2-RQE": ("TrainingSet-AMIA2016", "ValidationSet-AMIA2016", "TestSet"),
    "MEDIQA2019-Task3-QA": ("ValidationSet",),
}


class MediqaOptions(FormatOptions):
    """The root of the file."""

    root: str | None = Field(
        None,
        pattern=r"^[A-Za-z][\w.-]{0,99}$",
        description="the name of the root element, where it is none of MEDIQA 2019's",
    )


def scan(stream: BinaryIO, options: MediqaOptions) -> Iterator[RawRecord]:
    """Yield each pair or question."""
    roots = [f"{task}-{part}" for task, parts in _TASKS.items() for part in parts]
    records = xml_scanner.XmlRecords(
        roots=[root.encode() for root in ([options.root] if options.root else roots)],
        records=(b"pair", b"Question"),
        expected=options.root or "MEDIQA2019-...",
        fault="not_mediqa",
    )
    return xml_scanner.scan(stream, records)


def parse(raw: RawRecord, options: MediqaOptions) -> Document:
    """Turn a pair or a question into a Document with its label or answer as gold."""
    element = xml_elements.parsed(raw.data)
    return _pair(element) if element.tag == "pair" else _question(element)


def _text(element: Element, name: str) -> str:
    found = element.find(name)
    if found is None:
        raise FormatError("malformed", f"a <{local_name(element)}> without <{name}>")
    return "".join(found.itertext()).strip()


def _pair(element: Element) -> Document:
    parts = [("text_1", _text(element, "chq")), ("text_2", _text(element, "faq"))]
    laid = passages((type_, language.of_text(text), text) for type_, text in parts)
    document = Document(element.get("pid"), laid)
    if value := element.get("value"):
        document.gold.labels.append(Label("entailment", value))
    return document


def _question(element: Element) -> Document:
    question = _text(element, "QuestionText")
    laid = passages([("question", language.of_text(question), question)])
    document = Document(element.get("QID"), laid)
    ranked = [
        (rank, _text(answer, "AnswerText"))
        for answer in element.iter("Answer")
        if (rank := whole(answer.get("ReferenceRank"))) is not None
    ]
    if ranked:
        document.gold.texts.append(Text("qa", min(ranked, key=lambda pair: pair[0])[1]))
    return document


FORMAT = NamedFormat(
    "mediqa",
    MediqaOptions,
    scan,
    parse,
    "a pair with its label, or a question with its best answer",
)
