"""A small file of each format that is chosen by name, with options that it is read with."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openpyxl import Workbook

from taiyi_ray.formats import named
from taiyi_ray.formats.format import Format
from taiyi_ray.records import Document
from tests.formats.annotated import read


@dataclass(frozen=True)
class Sample:
    """A file and how it is read.

    Attributes:
        format: the name of its format.
        data: its bytes, without any broken record.
        options: the options of its format.
        path: its name.
        beside: the files beside it, by ending without the dot.
    """

    format: str
    data: bytes
    options: Mapping[str, Any] = field(default_factory=dict)
    path: str = "a.x"
    beside: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def bound(self) -> Format:
        """The format with its options."""
        return named(self.format, self.options)

    def read(self, data: bytes | str | None = None) -> list[Document]:
        """Read the file, or other data as if it were the file."""
        return read(self.bound, self.data if data is None else data, self.path, **self.beside)


def sheet(rows: list[list[object]]) -> bytes:
    """A spreadsheet of one sheet."""
    book = Workbook()
    for row in rows:
        book.active.append(row)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


TABLE = {"fields": {"document_id": "ID", "text": "text"}, "labels": {"tc": "label"}}

SAMPLES = {
    "conll": Sample(
        "conll",
        "-DOCSTART- (1)\tO\n\nGrippe\tB-X\né\tI-X\n\n.\tO\n\n-DOCSTART-\tO\na\tO\n".encode(),
    ),
    "conll-sentences": Sample(
        "conll",
        b"0\t3\tTNF\tS-Gene\tB-X\n4\t6\tin\tO\tE-X\n\n9\t13\tmice\tO\tO\n",
        {
            "record": "sentence",
            "scheme": "iobes",
            "columns": ["start", "-", "token", "tag", "tag"],
        },
    ),
    "csv": Sample(
        "delimited", 'ID,text,label\r\n1,"a ""é""\r\nb",x\r\n\r\n2,c,\r\n'.encode(), TABLE
    ),
    "tsv": Sample(
        "delimited",
        'x\té "\nz\tb\n'.encode(),
        {
            "fields": {"text": "2"},
            "labels": {"tc": "1"},
            "delimiter": "\t",
            "quotes": False,
            "header": False,
        },
    ),
    "xlsx": Sample("xlsx", sheet([["ID", "text", "label"], [1, "é\nb", "x"], [2.5, "c"]]), TABLE),
    "json": Sample(
        "json",
        """{"n": [0], "q": {"1": {"q": "é?", "c": {"A": "x", "B": "y"}, "a": "B"},
        "2": {"q": ""}}}""".encode(),
        {
            "layout": "keys",
            "path": ["q"],
            "fields": {"document_id": "@key", "question": "q", "choices": "c"},
            "labels": {"qa": "a"},
        },
    ),
    "json-mentions": Sample(
        "json",
        b"""[{"text": "TNF in mice", "m": [{"t": "TNF", "o": "0"}, {"t": "mice", "o": 7}]},
        {"text": "a"}]""",
        {"fields": {"text": "text", "mention": "m.t", "start": "m.o"}},
    ),
    "json-turns": Sample(
        "json",
        """[{"turns": [{"by": "患者", "said": "头疼", "tags": "BI"},
        {"by": "医生", "said": "嗯"}]}]""".encode(),
        {
            "fields": {"dialogue": "turns.said", "speaker": "turns.by", "tags": "turns.tags"},
            "last_turn": "dialogue",
        },
    ),
    "json-marks": Sample(
        "json",
        b'{"text": "a << b >> c [[ d ]]", "label": "R"}\n',
        {
            "layout": "lines",
            "fields": {"text": "text", "relation": "label"},
            "marks": [["<< ", " >>"], ["[[ ", " ]]"]],
        },
    ),
    "json-merged": Sample(
        "json",
        b'{"text": "<< b >> c [[ d ]]", "label": "R"}\n'
        b'{"text": "b << c >> [[ d ]]", "label": "Q"}\n{"text": "<< b >> [[ e ]]"}\n',
        {
            "layout": "lines",
            "fields": {"text": "text", "relation": "label"},
            "marks": [["<< ", " >>"], ["[[ ", " ]]"]],
            "merge": True,
        },
    ),
    "python-literals": Sample(
        "python-literals",
        b"test@[{'text': 'x'}]\n"
        b"train@[{'id': '1', 'text': '\xc3\xa9\\n', 'n': (1, -2.5e3, None)}, {'text': \"b'\"}]\n",
        {"prefix": "train@", "fields": {"document_id": "id", "text": "text"}},
    ),
    "cblue-mentions": Sample(
        "cblue",
        """[{"text": "头疼é", "entities": [{"start_idx": 0, "end_idx": 1, "type": "sym",
        "entity": "头疼"}]}]""".encode(),
        {"form": "mentions"},
    ),
    "cblue-triples": Sample(
        "cblue",
        """[{"text": "感冒@咳嗽", "spo_list": [{"predicate": "临床表现", "subject": "感冒",
        "subject_type": "疾病", "object": {"@value": "咳嗽"}, "object_type": {"@value": "症状"}}]}]
        """.encode(),
        {"form": "triples"},
    ),
    "cblue-terms": Sample(
        "cblue",
        """[{"text": " 卵巢Ca", "normalized_result": "癌##\\"a,b\\""}]""".encode(),
        {"form": "terms"},
    ),
    "cblue-class": Sample(
        "cblue", b'[{"id": "s1", "query": "a", "label": "b"}]', {"form": "class"}
    ),
    "cblue-pair": Sample(
        "cblue", b'[{"id": 1, "query": "a", "title": "b", "label": 2}]', {"form": "pair"}
    ),
    "bioasq": Sample(
        "bioasq",
        """{"questions": [{"id": "1", "type": "yesno", "body": "é?", "exact_answer": "Yes",
        "ideal_answer": ["a"], "snippets": [{"text": "b"}]}, {"body": "x", "type": "list",
        "exact_answer": [["y", "z"]]}]}""".encode(),
    ),
    "taiyi": Sample(
        "instructions",
        '{"conversation": [{"human": "é", "assistant": "b"}, {"human": "c"}]}\n'.encode(),
        {"form": "taiyi"},
    ),
    "promptcblue": Sample(
        "instructions",
        b'{"input": "a", "target": "b", "answer_choices": ["x"]}\n',
        {"form": "promptcblue"},
    ),
    "alpaca": Sample(
        "instructions",
        b'[{"instruction": "<u>: a <b>: b <u>: c", "input": "", "output": "d"}]',
        {"form": "alpaca", "layout": "list", "speakers": {"<u>:": "user", "<b>:": "assistant"}},
    ),
    "sharegpt": Sample(
        "instructions",
        b'{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}\n',
        {"form": "sharegpt"},
    ),
    "messages": Sample(
        "instructions",
        b'{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]}\n',
        {"form": "messages"},
    ),
    "parallel": Sample(
        "parallel",
        b"a\n\nb\n",
        {"ending": ".en", "other": ".zh", "to": "zh"},
        "a.en",
        {"zh": "甲\n\n乙\r\n".encode()},
    ),
    "relations-xml": Sample(
        "relations-xml",
        """<document id="d"><sentence id="s" text="é MTX and NSAIDs.">
        <entity id="e0" charOffset="2-4" type="drug" text="MTX"/>
        <entity id="e1" charOffset="2-4;10-15" text="MTX NSAIDs"/>
        <pair id="p" e1="e0" e2="e1" ddi="true"/></sentence></document>""".encode(),
    ),
    "knowtator-1": Sample(
        "knowtator",
        b"""<annotations textSource="a.txt"><annotation><mention id="m"/><span start="0" end="3"/>
        <spannedText>TNF</spannedText></annotation><classMention id="m"><mentionClass id="PR:1">tnf
        </mentionClass></classMention></annotations>""",
        {},
        "a.txt.knowtator.xml",
        {"txt": b"TNF in mice"},
    ),
    "knowtator-2": Sample(
        "knowtator",
        b"""<knowtator-project><document id="a"><annotation id="c"><class id="IDENTITY chain"/>
        <span start="0" end="3">TNF</span></annotation><annotation id="x"><class id="NP"
        label="Noun Phrase"/><span start="0" end="3">TNF</span></annotation><annotation id="y">
        <class id="NP"/><span start="7" end="11">mice</span></annotation><graph-space>
        <vertex id="v" annotation="c"/><vertex id="w" annotation="x"/>
        <vertex id="u" annotation="y"/>
        <triple id="t" subject="v" property="Coreferring strings" object="u"/>
        <triple id="s" subject="v" property="Coreferring strings" object="w"/>
        </graph-space></document></knowtator-project>""",
        {"type": "entity"},
        "a.xml",
        {"txt": b"TNF in mice"},
    ),
    "labelled-lines": Sample(
        "labelled-lines",
        "TNF in mice .\né .\n".encode(),
        {"labels": ".."},
        "text/a.txt",
        {"txt": b"< One--Part ANDTwo<"},
    ),
    "mediqa": Sample(
        "mediqa",
        """<MEDIQA2019-Task2-RQE-TestSet><pair pid="1" value="true"><chq>é</chq><faq>b</faq></pair>
        <Question QID="2"><QuestionText>c</QuestionText><AnswerList>
        <Answer ReferenceRank="2"><AnswerText>d</AnswerText></Answer>
        <Answer ReferenceRank="1"><AnswerText>e</AnswerText></Answer></AnswerList></Question>
        </MEDIQA2019-Task2-RQE-TestSet>""".encode(),
    ),
}
"""A sample of each format, and of each of its forms; `xlsx` is the only one that is no text."""
