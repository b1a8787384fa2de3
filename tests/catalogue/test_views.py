"""`taiyi-ray datasets` lists, shows and checks."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from typer.testing import CliRunner, Result

from taiyi_ray import catalogue, cli
from taiyi_ray.catalogue import views
from taiyi_ray.catalogue.checks import Checked
from taiyi_ray.catalogue.entry import Expected
from taiyi_ray.errors import ConfigError
from tests.catalogue.made import ABSTRACT, corpus, entry, layout

BC5CDR = {
    "bc5cdr/CDR_TrainingSet.PubTator.txt": ABSTRACT.replace("Drug", "Chemical").replace(
        "Helps", "CID"
    )
}


def plain(shown: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def called(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["datasets", *map(str, arguments)])


def test_the_list_as_json_says_what_is_present(tmp_path: Path) -> None:
    root = corpus(tmp_path, BC5CDR)
    found = json.loads(called("--json", "--data-root", root).output)
    assert len(found) == len(catalogue.entries())
    (bc5cdr,) = (one for one in found if one["present"])
    assert (bc5cdr["name"], bc5cdr["language"], bc5cdr["splits"]) == ("bc5cdr", ["en"], ["train"])
    assert bc5cdr["tasks"] == ["ner", "nen", "re"]
    without = json.loads(called("--json").output)
    assert {one["present"] for one in without} == {None}


def test_the_list_is_filtered_by_task_language_and_presence(tmp_path: Path) -> None:
    root = catalogue.DataRoot(corpus(tmp_path, BC5CDR))
    chosen = views.chosen(catalogue.entries(), task="ner", language="zh")
    assert {"CMeEE-V2", "cMedQANER"} <= {one.name for one in chosen}
    assert all("ner" in one.tasks and "zh" in one.language for one in chosen)
    (here,) = views.chosen(catalogue.entries(), root=root, present=True)
    assert "train" in plain(views.table([here], root))
    with pytest.raises(ConfigError, match=r"--task nerr: no task .* 'nerr'; did you mean 'ner'"):
        views.chosen(catalogue.entries(), task="nerr")
    with pytest.raises(ConfigError, match="--present: needs --data-root"):
        views.chosen(catalogue.entries(), present=True)


def test_the_list_counts_what_was_read() -> None:
    assert "1 datasets, 1 of them read here" in called("--task", "coref").output


def test_an_entry_is_shown_with_a_record_whose_mentions_are_marked(tmp_path: Path) -> None:
    root = catalogue.DataRoot(corpus(tmp_path, {"made/train.txt": ABSTRACT}))
    shown = plain(views.page(entry(), root))
    assert "Aspirin eased pain." in shown
    assert "treatment: Aspirin → gout" in shown
    assert "nen: Aspirin → D001241" in shown
    assert "chemical, disease" in shown
    assert "made/train.txt, record 0" in shown
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    console.print(views.page(entry(), root))
    assert "\x1b[4;" in console.file.getvalue()  # type: ignore[attr-defined]  # underlined
    absent = plain(views.page(entry(layouts=layout(train=["other/*.txt"])), root))
    assert "absent: made: the files of its train split are not below" in absent
    assert "looked for other/*.txt" in absent and "get it at https://example.org/made" in absent
    unseen = plain(views.page(entry(layouts=[], verified=False), root))
    assert "absent: made: nobody here has seen its files yet" in unseen
    assert "--data-root shows a record" in plain(views.page(entry(), None))


def test_mentions_without_a_type_are_marked_too(tmp_path: Path) -> None:
    root = catalogue.DataRoot(corpus(tmp_path, {"made/train.txt": ABSTRACT}))
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=200)
    untyped = entry(types={"Drug": "chemical", "Disease": None})
    console.print(views.page(untyped, root))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[4mgout\x1b[0m" in shown  # the end of a relation: underlined, without a colour
    assert "\x1b[4;36mAspirin\x1b[0m" in shown
    assert "no type" in shown


def test_a_narrow_terminal_breaks_no_word(tmp_path: Path) -> None:
    every = catalogue.entries()
    words = {word for one in every for word in (one.name, *one.tasks)}
    narrow = Console(file=io.StringIO(), width=80)
    narrow.print(views.table(every, catalogue.DataRoot(tmp_path)))
    checked = Checked("train", Expected(documents=1), None, reasons=Counter(gold_offsets=1))
    narrow.print(views.checks_table([checked]))
    assert isinstance(narrow.file, io.StringIO)
    lines = narrow.file.getvalue().splitlines()
    assert words | {"absent", "gold_offsets"} <= set(" ".join(lines).replace(",", "").split())
    assert max(map(len, lines)) <= 80


def test_what_is_piped_is_not_wrapped() -> None:
    every = catalogue.entries()
    lines = called().output.splitlines()
    assert len(lines) == 1 + len(every) + 1  # the header, and the count
    (line,) = (line for line in called("show", "ddi_corpus").output.splitlines() if "types" in line)
    assert len(line) > 80


def test_a_check_shows_counts_and_ends_with_what_is_wrong(tmp_path: Path) -> None:
    done = called("check", "bc5cdr", "--data-root", corpus(tmp_path, BC5CDR))
    assert isinstance(done.exception, ConfigError)
    assert "bc5cdr: train: 1 documents, where 500 are expected" in str(done.exception)
    assert "chemical_induced_disease" in done.output
    assert called("show", "bc5cdr", "--data-root", tmp_path).exit_code == 0


def test_an_option_before_show_or_check_is_refused_rather_than_ignored(tmp_path: Path) -> None:
    for option in (["--data-root", tmp_path], ["--json"]):
        done = called(*option, "show", "bc5cdr")
        assert isinstance(done.exception, ConfigError)
        assert f"{option[0]}: options of `show` stand behind it" in str(done.exception)


def test_the_summary_counts_both_what_was_read_and_what_was_not() -> None:
    every = catalogue.entries()
    read = sum(one.verified for one in every)
    assert f"Real records of {read} of them were read here" in views.summary()
    assert f"of the other {len(every) - read} only what is published is known" in views.summary()
