"""Annotation from Python: in one process, where a loop runs or none, with settings as elsewhere."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import taiyi_ray
from taiyi_ray import notebook
from taiyi_ray.annotation import Annotator
from taiyi_ray.config import NotebookConfig
from taiyi_ray.engine.fake import FakeEngine
from taiyi_ray.errors import ConfigError, ModelError, Unfinished
from taiyi_ray.formats import read
from taiyi_ray.notebook import NotebookAnnotator, annotate, annotate_async, annotator
from taiyi_ray.records import Document, passages
from tests.serve.serving import MIGRAINE, client

EXAMPLES = Path(__file__).parents[1] / "examples"

# What is loaded is asked of a process of its own: here all is loaded already.
LOADED = """
import sys
import taiyi_ray as ty
assert sorted(ty.__all__) == ty.__all__ and set(ty.__all__) < set(dir(ty))
for name in ty.__all__:
    getattr(ty, name)
rows = ty.annotate(["Aspirin eased pain."], engine="fake", types=["disease"], tasks=["ner"])
assert rows[0].status == "ok" and rows[0]._repr_html_()
assert len(list(ty.read("examples/pubmed-sample.xml"))) == 30
heavy = {"ray", "torch", "vllm", "transformers", "pandas"} & set(sys.modules)
assert not heavy, heavy
try:
    ty.anotate
except AttributeError as error:
    assert "'anotate'" in str(error)
"""


def test_the_package_loads_neither_ray_nor_torch_nor_vllm_nor_does_a_fake_engine() -> None:
    subprocess.run([sys.executable, "-c", LOADED], cwd=EXAMPLES.parent, check=True)


def test_texts_documents_and_dictionaries_may_be_mixed_and_are_answered_in_order() -> None:
    document = Document("mine", passages([("text", "en", MIGRAINE)]), position=70)
    given = [MIGRAINE, document, {"document_id": "d", "text": MIGRAINE}, {"text": 7}, None]
    rows = annotate(given, engine="fake", tasks=["ner"], types=["disease"])
    assert [row.document_id for row in rows] == ["0", "mine", "d", None, None]
    assert [row.status for row in rows] == ["ok"] * 3 + ["failed"] * 2
    assert rows[0].mentions == rows[1].mentions == rows[2].mentions != []
    assert {mention.type for mention in rows[0].mentions} == {"disease"}
    for mention in rows[0].mentions:
        assert rows[0].text[mention.start : mention.end] == mention.text
    assert [row.errors[0].where for row in rows[3:]] == ["documents[3]", "documents[4]"]


@pytest.mark.parametrize("one", [MIGRAINE, {"text": MIGRAINE}, Document("0", passages([]))])
def test_one_alone_is_one_document_and_no_list_of_letters(one: Any) -> None:
    assert len(annotate(one, engine="fake")) == 1


def test_a_file_and_a_column_of_a_data_frame_are_what_they_look_like() -> None:
    with annotator(engine="fake", types=["disease"], tasks=["ner"]) as opened:
        rows = opened.annotate(read(EXAMPLES / "pubmed-sample.xml"))
        assert [row.document_id for row in rows][:2] == ["3549656", "8119288"]
        frame = pd.DataFrame({"text": [MIGRAINE, None], "title": [None, "Pain"], "year": [1.0, 2]})
        assert [row.status for row in opened.annotate(frame["text"])] == ["ok", "failed"]
        first, second = opened.annotate(frame.to_dict("records"))
        assert (first.status, first.title, first.metadata) == ("ok", None, {"year": "1.0"})
        assert second.errors[0].message == "the record has neither text nor passages"
        with pytest.raises(ConfigError, match=r"a table was given; give a column .*'records'"):
            opened.annotate(frame)
        with pytest.raises(ConfigError, match="expected texts or documents, got int"):
            opened.annotate(7)  # type: ignore[arg-type]


def test_what_is_given_stays_as_it_is() -> None:
    value = {"title": "Pain", "passages": [{"text": MIGRAINE}], "mentions": [], "more": [1]}
    document = Document("d", passages([("text", "en", MIGRAINE)]))
    before = (json.dumps(value), repr(document))
    annotate([value, document], engine="fake")
    assert (json.dumps(value), repr(document)) == before


def test_a_row_is_the_one_that_the_service_makes_the_fingerprint_too() -> None:
    records = [{"document_id": "a", "text": MIGRAINE}, {"document_id": "b", "text": "头痛，咳嗽"}]
    asked = {
        "tasks": ["ner", "tc"],
        "types": ["disease"],
        "options": {"tc": {"labels": ["a", "b"]}},
    }
    rows = annotate(records, engine="fake", context_length=4096, scores=True, **asked)
    with client() as service:
        body = {"documents": records, "scores": True, **asked}
        served = service.post("/v1/annotate", json=body).json()["rows"]
    ours = [{**row.to_dict(), "run_id": ""} for row in rows]
    assert ours == [{**row, "run_id": ""} for row in served]


def test_options_win_over_those_of_a_task_file(tmp_path: Path) -> None:
    file = tmp_path / "tasks.yaml"
    file.write_text("tc: {labels: [a, b], multi_label: true}\nner: {types: [gene]}\n")
    given: dict[str, Any] = {"engine": "fake", "task_file": str(file)}
    (row,) = annotate(MIGRAINE, **given, options={"tc": {"labels": ["c", "d"]}})
    assert {answer.task for answer in row.answers} == {"tc", "ner"}
    assert {label.label for label in row.labels} <= {"c", "d"}
    with pytest.warns(UserWarning, match="--tasks leaves out tc"):
        annotate(MIGRAINE, **given, tasks=["ner"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tasks": ["nre"]}, "unknown task 'nre'; did you mean 're'"),
        ({"typs": ["disease"]}, "unknown setting 'typs'; did you mean 'types'"),
        ({"tasks": "ner"}, "tasks: Input should be a valid list, got 'ner'"),
        ({"types": ["a;b"]}, "a name must not be blank nor hold"),
        ({"tasks": ["tc"]}, "tc: labels is missing"),
        ({"options": {"tc": {"lables": []}}}, "did you mean 'labels'"),
        ({"engine": "vlm"}, "engine: Input should be 'vllm', 'http' or 'fake'"),
        ({"engine": "http"}, "url: the engine http needs the address of a server"),
        ({"engines": 2}, "engines: Input should be '1', got '2'"),
        ({"gpu": "L4"}, "gpu: "),
        ({"output": "out"}, "unknown setting 'output'"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        annotator(**{"engine": "fake", **settings})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_engine_that_cannot_start_says_why_and_leaves_no_thread() -> None:
    with pytest.raises(ModelError, match="no engine could be started: out of memory"):
        annotate(MIGRAINE, engine="fake", engine_args={"start_error": "out of memory"})
    with pytest.raises(ModelError, match="no such folder"):
        annotate(MIGRAINE, model="./nowhere")
    assert threads() == 0


def test_editors_see_every_setting_by_name() -> None:
    for function in (annotate, annotate_async, annotator):
        shown = inspect.signature(function).parameters
        assert set(NotebookConfig.model_fields) <= set(shown)
        assert shown["model"].default == NotebookConfig().model
    for name in NotebookConfig.model_fields.keys() - {"engines", "gpu"}:
        assert f"`{name}`" in (annotate.__doc__ or "")


# ------------------------------------------------------------------------------------ the loop


def threads() -> int:
    return sum(thread.name == "taiyi_ray" for thread in threading.enumerate())


def test_it_works_where_a_loop_runs_already_as_in_a_notebook() -> None:
    async def cell() -> list[str]:
        asyncio.get_running_loop()
        return [row.status for row in annotate([MIGRAINE] * 3, engine="fake")]

    assert asyncio.run(cell()) == ["ok"] * 3


def test_the_caller_s_loop_goes_on_while_documents_are_annotated() -> None:
    async def cell() -> tuple[int, int]:
        turns, over = 0, asyncio.Event()

        async def turn() -> None:
            nonlocal turns
            while not over.is_set():
                turns += 1
                await asyncio.sleep(0.01)

        turning = asyncio.create_task(turn())
        rows = await annotate_async(MIGRAINE, engine="fake", engine_args={"latency": 0.3})
        over.set()
        await turning
        return len(rows), turns

    found, turns = asyncio.run(cell())
    assert found == 1
    assert turns > 5


def test_one_engine_serves_many_calls_and_several_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[FakeEngine] = []
    whole = FakeEngine.__init__

    def counted(self: FakeEngine, *given: Any, **named: Any) -> None:
        started.append(self)
        whole(self, *given, **named)

    monkeypatch.setattr(FakeEngine, "__init__", counted)

    async def many(opened: NotebookAnnotator) -> int:
        done = await asyncio.gather(*(opened.annotate_async([MIGRAINE] * 2) for _ in range(5)))
        return sum(map(len, done))

    with annotator(engine="fake") as opened:
        first = opened.annotate(MIGRAINE)
        assert opened.annotate(MIGRAINE) == first
        assert asyncio.run(many(opened)) == 10
        assert asyncio.run(many(opened)) == 10
        (engine,) = started
        assert engine.alive
    assert not engine.alive
    assert threads() == 0
    opened.close()
    with pytest.raises(ConfigError, match="this annotator was closed"):
        opened.annotate(MIGRAINE)


def test_what_nobody_refers_to_any_more_ends() -> None:
    opened = annotator(engine="fake")
    assert threads() == 1
    del opened
    gc.collect()
    assert threads() == 0


def test_a_program_that_forgets_to_close_ends() -> None:
    code = (
        "import taiyi_ray.notebook as n; a = n.annotator(engine='fake'); "
        "print(len(a.annotate('x' * 9)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 30
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_who_interrupts_a_cell_ends_what_it_asked_and_the_engine_stays() -> None:
    main = threading.main_thread().ident
    assert main is not None
    with annotator(engine="fake", engine_args={"latency": 600}) as opened:
        engine = opened._kept.engine
        assert isinstance(engine, FakeEngine)

        def interrupt() -> None:
            until(lambda: engine.unanswered > 0)
            signal.pthread_kill(main, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            opened.annotate([MIGRAINE] * 3)
        until(lambda: engine.unanswered == 0)
        engine._latency = 0
        assert opened.annotate(MIGRAINE)[0].status == "ok"


def test_an_engine_whose_start_was_given_up_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[FakeEngine] = []
    main = threading.main_thread().ident
    assert main is not None

    def slow(self: FakeEngine, *given: Any, **named: Any) -> None:
        signal.pthread_kill(main, signal.SIGINT)
        whole(self, *given, **named)
        started.append(self)
        time.sleep(0.2)

    whole = FakeEngine.__init__
    monkeypatch.setattr(FakeEngine, "__init__", slow)
    with pytest.raises(KeyboardInterrupt):
        annotator(engine="fake")
    assert [engine.alive for engine in started] == [False]
    assert threads() == 0


def test_a_coroutine_that_is_cancelled_ends_what_it_asked() -> None:
    async def cell(opened: NotebookAnnotator) -> None:
        await asyncio.wait_for(opened.annotate_async(MIGRAINE), 0.2)

    with annotator(engine="fake", engine_args={"latency": 600}) as opened:
        engine = opened._kept.engine
        assert isinstance(engine, FakeEngine)
        with pytest.raises(TimeoutError):
            asyncio.run(cell(opened))
        until(lambda: engine.unanswered == 0)


def test_a_dead_engine_is_said_and_the_others_are_asked_no_more() -> None:
    given = ["boom", *[MIGRAINE] * 3]
    with annotator(engine="fake", engine_args={"die_on": "boom"}) as opened:
        with pytest.raises(Unfinished, match="the engine died while it answered"):
            opened.annotate(given)
        assert not opened._kept.engine.alive  # type: ignore[union-attr]


def test_a_fault_of_ours_costs_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(Annotator):
        async def annotate(self, document: Document) -> Any:
            if document.text == "bug":
                raise KeyError("oh")
            return await super().annotate(document)

    monkeypatch.setattr(notebook, "Annotator", Faulty)
    rows = annotate([MIGRAINE, "bug"], engine="fake")
    assert [row.status for row in rows] == ["ok", "failed"]
    assert rows[1].errors[0].kind == "internal_error"


# -------------------------------------------------------------------------- the example to run


def cells() -> list[str]:
    book = json.loads((EXAMPLES / "notebook.ipynb").read_text("utf-8"))
    assert book["nbformat"] == 4
    assert all(not cell.get("outputs") for cell in book["cells"])
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


def run_cells(sources: list[str]) -> str:
    """Execute the cells in order in one process, below a running loop, as Jupyter does."""
    code = f"""
import ast, asyncio, inspect, json

async def cells():
    names = {{"__name__": "__main__"}}
    for source in json.loads({json.dumps(json.dumps(sources))}):
        code = compile(source, source, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        made = eval(code, names)
        if inspect.iscoroutine(made):
            await made

asyncio.run(cells())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=EXAMPLES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_notebook_runs_from_top_to_bottom() -> None:
    sources = cells()
    assert any('engine="vllm"' in source for source in sources)
    fake = [source.replace('engine="vllm"', 'engine="fake"') for source in sources]
    assert "3549656" in run_cells(fake)


@pytest.mark.slow  # the test before runs the same cells with the fake engine
@pytest.mark.engine
def test_the_notebook_runs_with_the_real_engine() -> None:
    assert "3549656" in run_cells(cells())


def test_no_warning_is_given_where_there_is_nothing_to_warn_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        annotate(MIGRAINE, engine="fake")


def test_no_name_that_the_package_offers_is_that_of_a_module_which_would_hide_it() -> None:
    modules = {path.stem for path in Path(taiyi_ray.__path__[0]).iterdir()}
    assert not modules & set(taiyi_ray.__all__)
