"""The command line: every mistake is exit code 2 and one line that names it and the way out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import ANY

import pytest
import typer

from taiyi_ray import __version__, cli
from taiyi_ray.cli.options import settings_of
from taiyi_ray.config import ServeConfig
from taiyi_ray.corpus.output import Totals
from taiyi_ray.formats import WRITTEN
from taiyi_ray.job import job
from taiyi_ray.tasks import TASKS
from tests.engine.served import Played, Reply, completion, obedient
from tests.job.test_export import an_output

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = typer.main.get_command(cli.app).commands
KNOWN = (
    ".xml[.gz], .nxml[.gz], .json[.gz], .pubtator[.gz], .txt[.gz], .ann[.gz], .a1[.gz], "
    ".jsonl[.gz], .parquet[.gz]"
)
LINE = '{"document_id": "d", "text": "Metformin lowers glucose."}\n'


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `taiyi-ray ARGUMENTS` in this process."""
    monkeypatch.setenv("COLUMNS", "100")

    def ran(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["taiyi-ray", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return Ran(int(caught.value.code or 0), *capsys.readouterr())

    return ran


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.jsonl"
    path.parent.mkdir()
    path.write_text(LINE * 20)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run plans and writes its job, and then ends as if nothing was left to do."""
    monkeypatch.setattr(job.Loop, "pending", lambda _: [])
    monkeypatch.setattr(job, "verified", lambda *_: (Totals(), []))
    monkeypatch.setattr(job.JobOutput, "reported", lambda _: ANY)


def refused(ran: Ran) -> str:
    """The one line of a refusal."""
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("taiyi-ray: ")
    assert ran.err.count("\n") == 1
    return ran.err.removeprefix("taiyi-ray: ").rstrip("\n")


# ----------------------------------------------------------------------------------------- inputs


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("none", "no such file or folder"),
        ("none.xml.gz", "no such file or folder"),
        ("in/*.xml", "the pattern matches no file"),
        ("a.md", f"is not of a known format (known: {KNOWN})"),
        ("notes", f"holds no file of a known format (known: {KNOWN})"),
    ],
)
def test_an_input_that_cannot_be_read(run, tmp_path, source, out, given, problem):
    (tmp_path / "a.md").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "b.md").touch()
    line = refused(run("annotate", source, tmp_path / given, "-o", out, "--engine", "fake"))
    assert line == f"{tmp_path / given}: {problem}"
    assert not out.exists()


def test_a_source_that_changed_is_refused_and_one_that_was_touched_is_not(
    run, source, out, no_work
):
    arguments = ("annotate", source, "-o", out, "--engine", "fake")
    assert run(*arguments).code == 0
    os.utime(source, (1, 1))
    assert run(*arguments).code == 0
    source.write_text(LINE.replace("d", "e") * 20)
    assert refused(run(*arguments)) == (
        f"{source}: changed since its units were planned; give the new file another name, or "
        "write to another --output"
    )


# --------------------------------------------------------------------------------------- settings

KNOWN = ", ".join(TASKS)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--tasks", "nr"),
            f"unknown task 'nr'; did you mean 'ner'?; known tasks: {', '.join(TASKS)}",
        ),
        (("--tasks", "ner,x"), f"unknown task 'x'; known tasks: {KNOWN}"),
        (
            ("--tasks", "ner,tc"),
            "options (--task-file): tc: labels is missing; an example: "
            "`tc: {labels: [Treatment, Prevention], multi_label: true}`",
        ),
        (("--task-file", "no.yaml"), "--task-file no.yaml: No such file or directory"),
        (("--limit", "0"), "limit: Input should be greater than or equal to 1, got 0"),
        (("--engine", "vlm"), "engine: Input should be 'vllm', 'http' or 'fake', got 'vlm'"),
        (
            ("--engine", "http"),
            "url: the engine http needs the address of a server, as in http://host:8000/v1, "
            "got None",
        ),
        (
            ("--url", "http://host:8000/v1"),
            "url: the engine fake asks no server; leave the url out, or give --engine http, "
            "got 'http://host:8000/v1'",
        ),
        (
            ("--types", "gene,a;b"),
            "types: a name must not be blank nor hold ; ； : ： [ ] or a line break, "
            "as 'a;b' does, got ['gene', 'a;b']",
        ),
        (
            ("--engine-arg", "max_num_seqs"),
            "--engine-arg max_num_seqs: expected name=value, as in max_num_seqs=128",
        ),
        (("--column", "text"), "--column text: expected KEY=NAME, as in text=abstract"),
        (
            ("--column", "pmid=document_id"),
            "columns.pmid.[key]: Input should be 'document_id', 'text', 'passages', 'title', "
            "'language', 'version' or 'metadata', got 'pmid'",
        ),
        (("--column", "=abstract"), "--column =abstract: expected KEY=NAME, as in text=abstract"),
        (("--engine-arg", "a=[1"), "--engine-arg a=[1: the value is not YAML; quote it"),
        (("--config", "no.yaml"), "--config no.yaml: No such file or directory"),
    ],
)
def test_a_setting_that_is_wrong(run, source, out, options, line):
    assert refused(run("annotate", source, "-o", out, "--engine", "fake", *options)) == line
    assert not out.exists()


def test_settings_that_are_missing(run):
    assert refused(run("annotate", "--limit", "5")) == "inputs is missing; output is missing"


def test_a_config_file_with_an_unknown_key(run, tmp_path, source, out):
    path = tmp_path / "settings.yaml"
    path.write_text("engine: fake\nmax_token: 100\n")
    assert refused(run("annotate", source, "-o", out, "--config", path)) == (
        "unknown setting 'max_token'; did you mean 'max_tokens'?"
    )


def test_an_option_that_is_unknown_is_answered_with_the_nearest(run):
    ran = run("annotate", "--out", "x")
    assert ran.code == 2
    assert "--output" in ran.err


# ----------------------------------------------------------------------------------------- models


@pytest.fixture
def slow_model(tmp_path: Path) -> Path:
    """A model folder whose tokenizer works on bytes: no grammar can follow it."""
    from transformers import ByT5Tokenizer

    folder = tmp_path / "byt5"
    ByT5Tokenizer().save_pretrained(folder)
    config = {"model_type": "llama", "max_position_embeddings": 2048}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_tokenizer_that_no_grammar_can_follow(run, source, out, slow_model, no_work):
    arguments = ("annotate", source, "-o", out, "--model", slow_model)
    line = refused(run(*arguments))
    assert re.fullmatch(
        r"the tokenizer \(ByT5Tokenizer\) cannot be used to constrain answers \(.*\); "
        "use --grounding align",
        line,
    )
    assert not out.exists(), "the way out must be free: --grounding align is another job"
    assert run(*arguments, "--grounding", "align").code == 0


def test_a_folder_that_is_no_model(run, tmp_path, source, out):
    (tmp_path / "model").mkdir()
    assert refused(run("annotate", source, "-o", out, "--model", tmp_path / "model")) == (
        f"{tmp_path / 'model'}: has no config.json, so it is not a model in Hugging Face's "
        "layout; give a folder that has it"
    )


@pytest.mark.parametrize("name", ["./no/model", "/nowhere/model", "models"])
def test_a_model_that_is_not_there(run, source, out, name):
    line = refused(run("annotate", source, "-o", out, "--model", name))
    known = "smollm2-135m-instruct, taiyi-demo"
    assert line.startswith(f"model {name}: no such folder; give {known}, a folder, ")


# ----------------------------------------------------------------------------------------- output


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--max-tokens", "99"), "max_tokens: 512 there, 99 now"),
        (("--grounding", "align"), 'grounding: "grammar" there, "align" now'),
        (("--tasks", "re"), "ner.version: 3 there, nothing now"),
    ],
)
def test_an_output_of_a_run_with_other_settings(run, source, out, no_work, options, difference):
    arguments = ("annotate", source, "-o", out, "--engine", "fake")
    assert run(*arguments).code == 0
    line = refused(run(*arguments, *options))
    assert line.startswith(f"{out}: belongs to a run with other settings (")
    assert difference in line
    assert line.endswith("); use the same settings or another --output")


def test_an_output_that_is_a_file(run, source, out):
    out.write_text("mine")
    line = refused(run("annotate", source, "-o", out, "--engine", "fake"))
    assert line == f"--output {out}: is a file; name a folder, new or of an earlier run"
    assert out.read_text() == "mine"


def test_an_output_that_cannot_be_written(run, source, tmp_path):
    (tmp_path / "file").touch()
    line = refused(run("annotate", source, "-o", tmp_path / "file" / "out", "--engine", "fake"))
    assert line.startswith(f"{tmp_path / 'file' / 'out' / 'job.json'}: cannot be ")


# ---------------------------------------------------------------------------------------- dry run


def tree(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_dry_run_prints_settings_and_plan_and_writes_nothing(run, tmp_path, source, out):
    before = tree(tmp_path)
    arguments = ("annotate", source, "-o", out, "--engine", "fake", "--types", "disease,药物")
    ran = run(*arguments, "--dry-run")
    assert (ran.code, tree(tmp_path)) == (0, before)
    settings = json.loads(ran.out)
    assert (settings["inputs"], settings["output"]) == ([str(source)], str(out))
    assert settings["types"] == ["disease", "药物"]
    assert ran.err == (
        "plan: 20 documents of 1 files in 10 units, 0 of them done; nothing was written\n"
    )


def test_a_dry_run_shows_what_a_run_would_add_to_an_output(run, tmp_path, source, out, no_work):
    arguments = ("annotate", source, "-o", out, "--engine", "fake")
    assert run(*arguments, "--limit", "5").code == 0
    before = tree(tmp_path)
    ran = run(*arguments, "--dry-run")
    assert (ran.code, tree(tmp_path)) == (0, before)
    assert ran.err == (
        "plan: 20 documents of 1 files in 20 units, 0 of them done; nothing was written\n"
    )


def test_flags_win_over_the_config_file(run, tmp_path, source, out):
    path = tmp_path / "settings.yaml"
    path.write_text(
        f"inputs: ['{source}']\noutput: {out}\nengine: fake\nmax_tokens: 100\nlimit: 3\n"
        "engine_args: {latency: 0.5}\nretry_failed: true\n"
    )
    ran = run("annotate", "--config", path, "--limit", "7", "--no-retry-failed", "--dry-run")
    settings = json.loads(ran.out)
    assert (settings["max_tokens"], settings["limit"]) == (100, 7)
    assert (settings["engine_args"], settings["retry_failed"]) == ({"latency": 0.5}, False)
    ran = run(
        "annotate", "--config", path, "--engine-arg", "cut=0.5", "--engine-arg", "x=a b",
        "--dry-run",
    )  # fmt: skip
    assert json.loads(ran.out)["engine_args"] == {"cut": 0.5, "x": "a b"}


def test_an_option_is_read_under_its_old_name_with_one_warning(run, source, out, caplog):
    ran = run(
        "annotate", source, "-o", out, "--engine", "fake", "--context-limit", "1000", "--dry-run"
    )
    assert json.loads(ran.out)["context_length"] == 1000
    (record,) = caplog.records
    assert record.getMessage() == (
        "context_limit is called context_length now; please use the new name"
    )
    command = COMMANDS["serve"]
    context = command.make_context("serve", ["--max-in-flight", "7", "--context-limit", "1000"])
    settings = settings_of(ServeConfig, context)
    assert (settings.document_slots, settings.context_length) == (7, 1000)


def test_what_is_unusual_is_noted(run, tmp_path, source, out):
    (source.parent / "[old] notes.md").touch()
    ran = run(
        "annotate", source.parent, "-o", out, "--engine", "fake", "--types", "diseases,gene",
        "--dry-run",
    )  # fmt: skip
    assert ran.err.splitlines()[:2] == [
        "note: 'diseases' is not one of the default types; did you mean 'disease'?",
        "note: passed over 1 files of other formats",
    ]


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        ("tcc: {}", (), "unknown task 'tcc'; did you mean 'tc'?; known tasks: "),
        ("tcc: {}", ("--tasks", "ner"), "unknown task 'tcc'; did you mean 'tc'?; known tasks: "),
        ("tc: {}", (), "--task-file {path}: tc: labels is missing; an example: `tc: {{labels"),
        ("mt: {too: zh}", (), "--task-file {path}: mt: unknown setting 'too'; did you mean 'to'?"),
        ("ner: {types: ['a:b']}", (), "--task-file {path}: ner: types: a name must not be blank "),
    ],
)
def test_a_task_file_that_is_wrong(run, tmp_path, source, out, text, options, line):
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    given = ("annotate", source, "-o", out, "--engine", "fake", "--task-file", path, *options)
    assert refused(run(*given)).startswith(line.format(path=path))


@pytest.mark.parametrize(
    ("options", "tasks", "note"),
    [
        ((), ["tc", "ner"], False),
        (("--tasks", "ner"), ["ner"], True),
        (("--tasks", "ner,re,tc"), ["ner", "re", "tc"], False),
    ],
)
def test_tasks_are_those_of_the_task_file_or_those_named(
    run, tmp_path, source, out, options, tasks, note
):
    path = tmp_path / "tasks.yaml"
    path.write_text("tc: {labels: [A, B]}\nner: {types: [genes]}\n")
    given = ("annotate", source, "-o", out, "--engine", "fake", "--task-file", path, "--dry-run")
    ran = run(*given, *options)
    assert json.loads(ran.out)["tasks"] == tasks
    assert (f"note: {path}: --tasks leaves out tc" in ran.err) is note
    assert "note: 'genes' is not one of the default types; did you mean 'gene'?" in ran.err


def test_a_message_is_one_line_and_its_brackets_stay(run, source, tmp_path, no_work):
    out = tmp_path / "[old]" / ("x" * 200)
    ran = run("annotate", source, "-o", out, "--engine", "fake")
    assert ran == (0, "", f"nothing to do: all 20 documents are in {out}\n")


# ------------------------------------------------------------------------------------ the program


def test_version(run):
    assert run("--version") == (0, f"{__version__}\n", "")


# ----------------------------------------------------------------------------------------- export


def test_an_export_prints_what_it_wrote_and_what_it_could_not(run, tmp_path):
    output, _ = an_output(tmp_path, list("abcd"))
    ran = run("export", output, "--format", "bioc-json", "--to", tmp_path / "to")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "3 documents in 1 files\nleft out: 1 failed documents\n"


def test_an_export_into_a_format_that_is_not_written(run, tmp_path):
    ran = run("export", tmp_path, "--format", "bart", "--to", tmp_path / "to")
    assert refused(ran) == (
        f"--format bart: cannot be written; did you mean 'brat'? (known: {', '.join(WRITTEN)})"
    )


def test_help_names_every_format_that_is_written(run):
    *most, last = WRITTEN
    assert f"{', '.join(most)} or {last}" in plain(run("export", "--help").out)


def test_a_column_has_the_name_that_the_file_gives_it(run, tmp_path, out):
    path = tmp_path / "a.jsonl"
    path.write_text('{"pmid": "7", "abstract": "x"}\n')
    arguments = ("--column", "document_id=pmid", "--column", "text=abstract", "--engine", "fake")
    ran = run("annotate", path, "-o", out, *arguments, "--dry-run")
    assert json.loads(ran.out)["columns"] == {"document_id": "pmid", "text": "abstract"}


def plain(text: str) -> str:
    """Help as words: without colours, frames and line ends."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


def test_help_teaches_an_example_the_defaults_and_the_exit_codes(run):
    ran = run("annotate", "--help")
    text = plain(ran.out)
    assert ran.code == 0
    for expected in (
        "Example: taiyi-ray annotate pubmed/ --output out --types disease,chemical",
        "the default is those of the task file, or ner and re if there is no task file",
        "(default: taiyi-demo)",
        "(default: 0.05)",
        "Exit codes: 0 done, 2 something to change, 3 too many failed documents, 4 unfinished",
    ):
        assert expected in text
    assert "Undefined" not in text


def test_a_bare_command_shows_its_help(run):
    assert "annotate" in run().out
    assert run("--help").code == 0


def asking(server: Played, source: Path, out: Path) -> tuple[str | Path, ...]:
    """The arguments of a job that asks a server."""
    arguments = ("--url", server.url, "--engine", "http", "--grounding", "align", "--engines", "1")
    return ("annotate", source, "-o", out, *arguments, "--engine-arg", "retries=0")


def test_a_server_that_does_not_answer_when_the_job_starts_is_exit_code_4(run, source, out):
    server = Played()
    server.stop()
    ran = run(*asking(server, source, out))
    assert ran.code == 4
    assert ran.err.startswith(f"taiyi-ray: {server.url}: no answer: ")
    assert ran.err.endswith("; when the server is there, run the same command again\n")
    assert ran.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.alone
def test_a_server_that_goes_away_in_mid_run_is_exit_code_4_too(source, out):
    server = Played()

    def answer(body: Any) -> Any:
        if "Metformin lowers" in str(body):
            server.answer = lambda _: Reply(0)
            threading.Thread(target=server.stop).start()
            return Reply(0)
        return completion(body, obedient(body))

    server.answer = answer
    command = [sys.executable, "-c", "from taiyi_ray.cli import main; main()"]
    try:
        ran = subprocess.run(
            [*command, *asking(server, source, out)], capture_output=True, text=True, timeout=300
        )
    finally:
        server.stop()
    assert ran.returncode == 4
    assert ": no answer: " in ran.stderr.splitlines()[-1]
    assert ran.stderr.endswith("; when the server is there, run the same command again\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("a bug")])
def test_an_interrupt_is_130_and_a_bug_keeps_its_traceback(run, source, out, monkeypatch, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("taiyi_ray.job.run", fail)
    arguments = ("annotate", source, "-o", out, "--engine", "fake")
    if error is KeyboardInterrupt:
        ran = run(*arguments)
        assert ran.code == 130
        assert ran.err == "interrupted; what was done is kept, the same command goes on\n"
    else:
        with pytest.raises(RuntimeError, match="a bug"):
            run(*arguments)


def test_help_comes_without_ray_and_what_else_is_slow():
    script = (
        "import sys; sys.argv = ['taiyi-ray', 'annotate', '--help']\n"
        "from taiyi_ray.cli import main\n"
        "try: main()\n"
        "finally: print('loaded:', {'ray', 'torch', 'vllm', 'transformers', 'pyarrow'} "
        "& set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr == "loaded: set()\n"


def test_the_job_script_is_the_same_command(run):
    done = subprocess.run(
        [sys.executable, ROOT / "jobs" / "annotate.py", "--help"],
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    options = re.compile(r"--[a-z-]+")
    ours, theirs = run("annotate", "--help").out, done.stdout
    assert set(options.findall(theirs)) == set(options.findall(ours)) >= {"--output", "--dry-run"}
    done = subprocess.run(
        [sys.executable, ROOT / "jobs" / "annotate.py", "none", "-o", "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "taiyi-ray: none: no such file or folder\n")
