"""The task routes with the fake engine: rows as the job writes them, every task, every format."""

from __future__ import annotations

import concurrent.futures as futures
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from taiyi_ray import annotation
from taiyi_ray.annotation import Annotated, Annotator
from taiyi_ray.engine.fake import FakeEngine
from taiyi_ray.formats import WRITTEN, document_from_value, documents
from taiyi_ray.formats.format import Written
from taiyi_ray.records import Annotations, Document
from taiyi_ray.serve import task_routes
from taiyi_ray.serve.admission import Admission
from taiyi_ray.serve.problems import Problem
from taiyi_ray.serve.requests import AnnotateRequest
from taiyi_ray.serve.task_routes import MEDIA_TYPES, accepted
from taiyi_ray.tasks import TASKS
from taiyi_ray.tasks.task import Assignment, Question
from tests.job.jobs import annotate as run_job
from tests.job.jobs import corpus, table
from tests.serve.serving import MIGRAINE, client

ITS_OWN = ("source", "position", "unit", "run_id")
"""Columns that tell one run from another."""


@pytest.fixture(scope="module")
def service() -> Iterator[TestClient]:
    with client() as testing:
        yield testing


def annotate(service: TestClient, **body: Any) -> list[dict[str, Any]]:
    answer = service.post("/v1/annotate", json=body)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["rows"])


def refused(service: TestClient, status: int, **body: Any) -> dict[str, Any]:
    answer = service.post("/v1/annotate", json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json()["error"])


def test_a_document_has_the_same_row_as_in_the_corpus_job(joined, service, tmp_path):
    """All columns but those of run and place, the fingerprint too."""
    source = corpus(tmp_path / "in.jsonl", 12)
    run_job(source, "-o", tmp_path / "out", "--engine", "fake", "--scores")
    records = [json.loads(line) for line in source.read_text().splitlines()]
    served = annotate(service, documents=records, ask="together", scores=True)
    # Through JSON as the served ones: a float of 32 bits is a longer number there.
    of_job = json.loads(json.dumps([_plain(row) for row in table(tmp_path / "out")]))
    assert [_plain(row) for row in served] == of_job
    assert any(row["mentions"] and row["relations"] for row in served)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in ITS_OWN}
    kept["metadata"] = dict(kept["metadata"])
    for found in kept["mentions"] + kept["relations"]:
        found["score"] = found["score"] and round(found["score"], 6)
    return kept


def test_the_service_asks_in_the_form_that_its_settings_name_and_a_request_chooses_a_wording():
    with client(wording="short") as short:
        body = {"text": MIGRAINE, "tasks": ["ner"], "types": ["disease", "gene"], "prompts": True}
        answer = short.post("/v1/annotate", json=body).json()
        asked, _ = answer["prompts"][0]
        assert asked["messages"][0]["content"] == f"{MIGRAINE}\n\ndisease mentions?"
        told, _ = answer["rows"][0]["answers"]
        assert told["raw"].startswith("Here are the disease entities mentioned in the text:")
        other = {**body, "options": {"ner": {"wording": 1}}}
        asked, _ = short.post("/v1/annotate", json=other).json()["prompts"][0]
        assert "as it is written" in asked["messages"][0]["content"]


def test_mentions_are_where_they_say(service):
    chinese = "😀 患者男性，因反复咳嗽咳痰两周入院，既往有高血压病史，予以抗感染治疗后好转出院。"
    for text in (MIGRAINE, chinese):
        (row,) = annotate(service, text=text)
        assert row["mentions"]
        for mention in row["mentions"]:
            assert text[mention["start"] : mention["end"]] == mention["text"]


@pytest.mark.parametrize("task", TASKS)
def test_the_example_of_every_task_works_in_both_languages(service, task):
    (described,) = [one for one in service.get("/v1/tasks").json()["tasks"] if one["name"] == task]
    rows = annotate(service, **described["example"])
    assert [row["document_id"] for row in rows] == ["en", "zh"]
    for row, language in zip(rows, ("en", "zh"), strict=True):
        assert (row["status"], row["errors"]) == ("ok", [])
        assert row["answers"][0]["task"].partition(":")[0] == task
        assert row["answers"][0]["language"] == language
    assert described["needs_options"] == any(
        option["required"] for option in described["options"].values()
    )


def test_a_request_cannot_read_the_files_of_the_machine(service, tmp_path):
    path = tmp_path / "terms.tsv"
    path.write_text("C1\tsecret\n", "utf-8")
    body = {"text": "secret", "tasks": ["nen"], "options": {"nen": {"terms": str(path)}}}
    error = refused(service, 422, **body)
    assert "a file is not read here" in error["message"]
    assert "secret" not in error["message"]


def test_mentions_that_a_request_gives_get_their_concepts(service):
    mention = {"id": 0, "type": "chemical", "text": "ASA", "start": 0, "end": 3}
    options = {"nen": {"terms": {"D1": ["Aspirin", "ASA"]}, "db": "MESH"}}
    documents = [{"text": "ASA helps.", "mentions": [mention]}]
    (row,) = annotate(service, documents=documents, tasks=["nen"], options=options)
    assert row["answers"][0]["types"] == ["D1"]
    assert [m["concept"]["id"] for m in row["mentions"]] == ["D1"]


def test_what_is_wrong_with_one_document_is_in_its_row(service):
    rows = annotate(
        service, documents=[{"text": MIGRAINE}, {"title": "no text"}, {"text": 7}, {"text": "ok"}]
    )
    assert [row["status"] for row in rows] == ["ok", "failed", "failed", "ok"]
    assert [row["position"] for row in rows] == [0, 1, 2, 3]
    assert rows[1]["errors"][0]["kind"] == "invalid_record"
    assert "request, record 1" in rows[1]["errors"][0]["where"]


def test_a_fault_of_ours_costs_one_document(service, monkeypatch):
    class Faulty(Annotator):
        async def annotate(self, document: Document) -> Annotated:
            if document.text == "bug":
                raise KeyError("oh")
            return await super().annotate(document)

    monkeypatch.setattr(task_routes, "Annotator", Faulty)
    rows = annotate(service, documents=[{"text": MIGRAINE}, {"text": "bug"}, {"text": MIGRAINE}])
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert rows[1]["errors"][0]["kind"] == "internal_error"


@pytest.mark.parametrize(
    ("language", "record", "expected"),
    [
        ("auto", {"text": "咳嗽 cough"}, "zh"),
        ("en", {"text": "咳嗽 cough"}, "en"),
        ("zh", {"text": "cough"}, "zh"),
        ("zh", {"text": "cough", "language": "en"}, "en"),
    ],
)
def test_the_language_is_that_of_the_document_else_as_asked(service, language, record, expected):
    (row,) = annotate(service, documents=[record], language=language)
    assert [passage["language"] for passage in row["passages"]] == [expected]


def test_scores_and_grounding_are_of_the_request(service):
    (without,) = annotate(service, text=MIGRAINE)
    (with_scores,) = annotate(service, text=MIGRAINE, scores=True)
    (aligned,) = annotate(service, text=MIGRAINE, grounding="align")
    assert all(mention["score"] is None for mention in without["mentions"])
    assert all(0 < mention["score"] <= 1 for mention in with_scores["mentions"])
    assert len({row["fingerprint"] for row in (without, with_scores, aligned)}) == 3


def test_prompts_are_given_when_asked_for(service):
    body = {"text": MIGRAINE, "tasks": ["ner"], "types": ["disease"]}
    assert "prompts" not in service.post("/v1/annotate", json=body).json()
    answer = service.post("/v1/annotate", json={**body, "prompts": True}).json()
    ((prompt,),) = answer["prompts"]
    assert (prompt["task"], prompt["types"], prompt["language"]) == ("ner", ["disease"], "en")
    assert MIGRAINE in prompt["messages"][0]["content"]


def test_usage_adds_up(service):
    answer = service.post("/v1/annotate", json={"text": MIGRAINE}).json()
    answers = answer["rows"][0]["answers"]
    assert answer["usage"]["questions"] == len(answers) > 1
    assert answer["usage"]["output_tokens"] == sum(a["output_tokens"] for a in answers) > 0
    assert answer["seconds"] > 0 and answer["model"] == "taiyi"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (422, {}, "give either text or documents"),
        (422, {"text": "a", "documents": [{}]}, "give either text or documents"),
        (422, {"text": "a", "tasks": ["nre"]}, "unknown task 'nre'; did you mean 're'?"),
        (422, {"text": "a", "tasks": ["tc"]}, "labels is missing"),
        (422, {"text": "a", "tasks": []}, "tasks: List should have at least 1 item"),
        (422, {"text": "a", "options": {"mt": {}}}, "mt is not among the tasks"),
        (422, {"text": "a", "types": ["a;b"]}, "must not be blank nor hold"),
        (422, {"text": "a", "taks": ["ner"]}, "taks: not supported here"),
        (422, {"text": "a", "language": "fr"}, "language: Input should be 'auto', 'en' or 'zh'"),
        (422, {"text": "a", "max_tokens": 100_000}, "an answer may have 512 tokens at most"),
        (404, {"text": "a", "model": "gpt"}, "no model 'gpt'; the model is taiyi"),
        (
            413,
            {"documents": [{"text": "a"}] * 65},
            "65 documents; the limit of this service is 64",
        ),
    ],
)
def test_a_request_that_cannot_be_answered_hears_why(service, status, body, message):
    error = refused(service, status, **body)
    assert message in error["message"]
    assert error["code"] == status and error["type"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"text": "\\ud800"}', b"\xff"])
def test_a_body_that_is_no_json_is_refused(service, body):
    answer = service.post(
        "/v1/annotate", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["message"]


def test_more_than_the_slots_is_shed_and_the_rest_is_answered():
    """Sixteen at once where four fit: those let in take no longer than one alone."""
    import concurrent.futures as futures

    with (
        client(document_slots=4, engine_args={"latency": 0.4}) as service,
        futures.ThreadPoolExecutor(16) as pool,
    ):
        body = {"text": MIGRAINE, "tasks": ["ner"], "types": ["disease"]}
        answers = list(pool.map(lambda _: service.post("/v1/annotate", json=body), range(16)))
        after = service.post("/v1/annotate", json=body)
    status = [answer.status_code for answer in answers]
    assert status.count(200) >= 4 and status.count(503) == 16 - status.count(200) > 0
    for answer in answers:
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
            assert "slots are taken" in answer.json()["error"]["message"]
    assert after.status_code == 200


# -------------------------------------------------------------------------------------- the work


def test_prompts_are_measured_before_one_is_made(monkeypatch):
    """217 kB about 2,000 things once took 6 GB."""
    made = []
    whole = Assignment.ask

    def ask(self: Assignment, *args: Any, **kwargs: Any) -> Question:
        question = whole(self, *args, **kwargs)
        made.append(len(question.messages[0]["content"]))
        return question

    monkeypatch.setattr(Assignment, "ask", ask)
    names = [f"type {n}" for n in range(1000)]
    text = MIGRAINE * 2500
    with client() as service:
        body = {"text": text, "tasks": ["ner"], "types": names}
        error = refused(service, 413, **body)
        assert "the limit is 32,000,000. " in error["message"] and "fewer" in error["message"]
        body = {"text": "a", "tasks": ["ner"], "types": [*names, "one more"]}
        error = refused(service, 422, **body)
        assert "more than 1,000 names and values" in error["message"]
        questions = "\n".join("Why? " * 3)
        record = {"passages": [{"type": "text", "text": text}]}
        record["passages"] += [{"type": "question", "text": questions}] * 200
        error = refused(service, 413, documents=[record], tasks=["qa"])
    assert max(made) < len(text) / 4


@pytest.mark.parametrize("task", TASKS)
def test_what_prompts_are_measured_at_is_what_they_have(service, task):
    """Of each task's example, and of a long text; more where a task shows a part of a text."""
    (described,) = [one for one in service.get("/v1/tasks").json()["tasks"] if one["name"] == task]
    body = dict(described["example"])
    request = AnnotateRequest(**body)
    assignments = task_routes._assignments(request, grammar=True)
    measuring = Annotator(FakeEngine(4096), assignments, 512)
    records = list(body["documents"])
    long = [dict(one) for one in records]
    for record in long:
        given = record.pop("passages", None) or [{"text": record.pop("text")}]
        record["passages"] = [dict(passage) for passage in given]
        record["passages"][0]["text"] *= 2000 // len(record["passages"][0]["text"]) * 20
    for number, record in enumerate([*records, *long]):
        document = document_from_value(record, number, "here")
        asked = measuring.questions(document).prompted
        have = sum(len(m["content"]) for _, question, _ in asked for m in question.messages)
        size = measuring.size(document)
        assert have / 2 <= size
        assert size <= have * 4 + 4000 or task in ("similarity", "entailment", "dialogue")


def test_the_limit_is_of_all_documents_of_a_request_together():
    with client(max_characters=30_000) as service:
        body = {"tasks": ["ner"], "types": ["disease"]}
        assert service.post("/v1/annotate", json={"text": MIGRAINE * 50, **body}).status_code == 200
        refused(service, 413, documents=[{"text": MIGRAINE * 50}] * 8, **body)


def test_long_prompts_take_more_slots_than_short_ones(monkeypatch):
    monkeypatch.setattr(task_routes, "_A_SLOT", 2000)
    taken = []
    whole = Admission.enter

    async def enter(self: Admission, held: ExitStack, number: int) -> None:
        taken.append(number)
        await whole(self, held, number)

    monkeypatch.setattr(Admission, "enter", enter)
    with client() as service:
        body = {"tasks": ["tc"], "options": {"tc": {"labels": ["a", "b"]}}}
        annotate(service, documents=[{"text": MIGRAINE}] * 3, **body)
        annotate(service, documents=[{"text": MIGRAINE}, {"text": MIGRAINE * 50}], **body)
    assert taken == [3, 4]


@pytest.mark.parametrize(
    "step", ["assign", "measure", "ask", "parse", "join", "row", "write", "answer"]
)
def test_others_are_answered_while_one_is_worked_on_for_long(monkeypatch, step):
    """Each step that takes long on a long text is held until /health was answered."""
    entered, answered = threading.Event(), threading.Event()

    def hold(whole: Callable[..., Any]) -> Callable[..., Any]:
        def held(*args: Any, **kwargs: Any) -> Any:
            entered.set()
            assert answered.wait(30), "the loop is held as well"
            return whole(*args, **kwargs)

        return held

    pubtator = WRITTEN["pubtator"]
    assert pubtator.writer is not None
    writing = replace(pubtator, writer=replace(pubtator.writer, write=hold(pubtator.writer.write)))
    parsing = replace(TASKS["ner"], read=hold(TASKS["ner"].read))
    with monkeypatch.context() as patch, client() as service:
        if step == "parse":
            patch.setitem(TASKS, "ner", parsing)
        elif step == "write":
            patch.setitem(WRITTEN, "pubtator", writing)
        else:
            owner, name = {
                "assign": (task_routes, "_assignments"),
                "measure": (Annotator, "size"),
                "ask": (Annotator, "questions"),
                "join": (annotation, "merge"),
                "row": (Annotated, "row"),
                "answer": (task_routes._Result, "as_json"),
            }[step]
            patch.setattr(owner, name, hold(getattr(owner, name)))
        header = {"accept": "text/x-pubtator" if step == "write" else "application/json"}
        body = {"text": MIGRAINE, "tasks": ["ner"], "types": ["disease"]}
        with futures.ThreadPoolExecutor(1) as pool:
            asking = pool.submit(service.post, "/v1/annotate", json=body, headers=header)
            assert entered.wait(30)
            try:
                assert service.get("/health").status_code == 200
            finally:
                answered.set()
            assert asking.result().status_code == 200


# ------------------------------------------------------------------- what one document can break


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [100, 300, 450, 600, 800, 900, 960, 5000, 100_000])
@pytest.mark.parametrize("where", ["key", "metadata", "options"])
def test_nesting_costs_one_document_or_is_refused(service, depth, where):
    deep = "[" * depth + "]" * depth
    record = {"key": f'"foo": {deep}', "metadata": f'"metadata": {{"a": {deep}}}'}
    if where == "options":
        data = f'{{"text": "a", "tasks": ["tc"], "options": {{"tc": {{"labels": {deep}}}}}}}'
    else:
        data = f'{{"documents": [{{"text": "a", {record[where]}}}, {{"text": "b"}}]}}'
    header = {"content-type": "application/json"}
    answer = service.post("/v1/annotate", content=data.encode(), headers=header)
    assert answer.status_code in (200, 400, 422), answer.text
    if answer.status_code == 200:
        assert answer.json()["rows"][1]["status"] == "ok"


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["disease", "labels", "en", 10**400, -1, "\ud800", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8) | st.sampled_from(["text", "type"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
_KEYS = ("document_id", "text", "passages", "title", "language", "version", "metadata", "mentions",
         "relations", "events", "labels", "texts", "infons", "id", "foo")  # fmt: skip


@given(st.dictionaries(st.sampled_from(_KEYS), _JSON), st.sampled_from([None, *MEDIA_TYPES]))
def test_whatever_a_document_is_the_others_are_annotated(service, record, media_type):
    body = {"documents": [{"text": MIGRAINE}, record, {"text": MIGRAINE}], "tasks": ["tc"],
            "options": {"tc": {"labels": ["a", "b"]}}}  # fmt: skip
    headers = {"content-type": "application/json", "accept": media_type or "application/json"}
    answer = service.post("/v1/annotate", content=json.dumps(body).encode(), headers=headers)
    assert answer.status_code in (200, 400, 422), answer.text
    if answer.status_code == 200 and media_type is None:
        status = [row["status"] for row in answer.json()["rows"]]
        assert len(status) == 3 and status[0] == status[2] == "ok"


@given(
    st.dictionaries(
        st.sampled_from(sorted(set(TASKS))),
        st.dictionaries(
            st.sampled_from(
                ["labels", "types", "relations", "events", "questions", "choices", "form", "to",
                 "ask", "multi_label", "wording", "sections", "roles", "x"]
            ),
            _JSON,
            max_size=4,
        ),
        max_size=3,
    )
)  # fmt: skip
def test_whatever_the_options_are_is_no_fault_of_ours(service, options):
    body = {"text": MIGRAINE, "tasks": sorted(options) or ["ner"], "options": options}
    header = {"content-type": "application/json"}
    answer = service.post("/v1/annotate", content=json.dumps(body).encode(), headers=header)
    assert answer.status_code < 500, answer.text


@pytest.mark.parametrize("media_type", [None, *MEDIA_TYPES])
@pytest.mark.parametrize("id_", ["x" * 70_000, "病" * 70_000, "../../etc", "a/b\0c", "." * 300])
def test_any_id_of_a_document_is_told_and_written(service, media_type, id_):
    body = {"documents": [{"document_id": id_, "text": MIGRAINE}], "types": ["disease"]}
    accept = {"accept": media_type or "application/json"}
    answer = service.post("/v1/annotate", json=body, headers=accept)
    assert answer.status_code == 200
    if media_type == "application/x-brat+zip":
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            names = archive.namelist()
        assert len(set(names)) == len(names) == 2
        assert all(len(name.encode()) <= 255 and "/" not in name for name in names)


def test_a_document_that_cannot_be_written_is_left_out_and_counted(service, monkeypatch):
    def write(document: Document, annotations: Annotations) -> Written:
        if document.text == "bug":
            raise KeyError("oh")
        return pubtator.writer.write(document, annotations)  # type: ignore[union-attr]

    pubtator = WRITTEN["pubtator"]
    assert pubtator.writer is not None
    broken = replace(pubtator, writer=replace(pubtator.writer, write=write))
    monkeypatch.setitem(WRITTEN, "pubtator", broken)
    body = {"documents": [{"text": "bug"}, {"text": MIGRAINE}], "tasks": ["ner"]}
    answer = service.post("/v1/annotate", json=body, headers={"accept": "text/x-pubtator"})
    assert answer.status_code == 200 and "Aspirin" in answer.text
    assert "documents that could not be written (1)" in answer.headers["x-taiyi-lost"]


def test_a_row_that_cannot_be_told_costs_one_document(service, monkeypatch):
    class Faulty(Annotator):
        async def annotate(self, document: Document) -> Annotated:
            annotated = await super().annotate(document)
            if document.text == "bug":
                annotated.answers[0].raw = "\ud800"
            return annotated

    monkeypatch.setattr(task_routes, "Annotator", Faulty)
    rows = annotate(service, documents=[{"text": "bug"}, {"text": MIGRAINE}], tasks=["ner"])
    assert [row["status"] for row in rows] == ["failed", "ok"]
    assert rows[0]["errors"][0]["kind"] == "internal_error" and rows[0]["position"] == 0


# ---------------------------------------------------------------------------------------- export


@pytest.mark.parametrize(("media_type", "name"), MEDIA_TYPES.items())
def test_a_format_that_is_asked_for_can_be_read_again(service, media_type, name):
    record = {
        "document_id": "7",
        "passages": [
            {"type": "title", "text": "Aspirin in migraine"},
            {"type": "abstract", "text": MIGRAINE},
        ],
    }
    answer = service.post(
        "/v1/annotate",
        json={"documents": [record, {"text": 1}], "types": ["disease", "chemical"]},
        headers={"accept": f"{media_type}, */*;q=0.1"},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(media_type)
    assert "failed documents (1)" in answer.headers["x-taiyi-lost"]
    format_ = WRITTEN[name]
    data = answer.content
    read = None
    assert format_.writer is not None
    path = f"a{format_.writer.endings[-1]}"
    if name == "brat":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {f"a.{n.rpartition('.')[2]}": archive.read(n) for n in archive.namelist()}
        data, read, path = files["a.ann"], files.get, "a.ann"
    (document,) = documents(io.BytesIO(data), path, format_, "s", 0, 99, read=read)
    for text in ("Aspirin in migraine", MIGRAINE):  # CoNLL puts a blank between all tokens
        assert "".join(text.split()) in "".join(document.text.split())
    assert document.gold.mentions
    for mention in document.gold.mentions:
        assert document.text[mention.start : mention.end] == mention.text


def test_every_format_that_is_written_can_be_asked_for():
    assert set(MEDIA_TYPES.values()) == set(WRITTEN)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/*;q=0.5, text/html", "application/json"),
        ("text/html, application/jsonl;q=0.2", "application/jsonl"),
        ("application/json;q=0.1, application/bioc+xml;q=0.9", "application/bioc+xml"),
        ("APPLICATION/JSON", "application/json"),
        ("application/jsonl;q=0, application/json", "application/json"),
        ("application/jsonl;q=0.5, */*", "application/json"),
        ("text/x-pubtator, application/json, */*", "text/x-pubtator"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("text/*, application/json;q=0.1", "text/x-pubtator"),
        ("*/*, application/json;q=0", "application/bioc+xml"),
        ("application/json;q=0, application/*;q=0.3", "application/bioc+xml"),
        ("application/json;q=nan, text/x-pubtator;q=0.1", "text/x-pubtator"),
        ("application/json;q=x, text/x-pubtator;q=0.1", "text/x-pubtator"),
    ],
)
def test_the_answer_has_the_form_that_is_liked_best(header, expected):
    assert accepted(header) == expected


@given(st.text(max_size=60))
def test_any_accept_header_is_read_or_refused(header):
    try:
        assert accepted(header) in {"application/json", *MEDIA_TYPES}
    except Problem as problem:
        assert problem.status_code == 406
