"""Errors: what a person can act on, with its exit code; signals; the name that was meant."""

import pytest

from taiyi_ray import errors
from taiyi_ray.errors import TaiyiError, nearest, unknown


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("nr", ["ner", "re"], "; did you mean 'ner'?"),
        ("max_token", ["max_tokens", "max_failed"], "; did you mean 'max_tokens'?"),
        ("diseases", iter(["gene", "disease"]), "; did you mean 'disease'?"),
        ("BC5CDR", ["bc5cdr", "biored"], "; did you mean 'bc5cdr'?"),
        ("cehrner", ["cEHRNER"], "; did you mean 'cEHRNER'?"),
        ("药品", ["药物", "疾病"], ""),
        ("summary", ["ner", "re"], ""),
        ("ner", [], ""),
    ],
)
def test_nearest(name, known, expected):
    assert nearest(name, known) == expected


@pytest.mark.parametrize(
    ("name", "hint"), [("nre", "; did you mean 're'?"), ("summary", "; known: ner, re")]
)
def test_a_name_that_nothing_has_is_answered_with_the_nearest_or_with_all(name, hint):
    error = unknown(f"--tasks {name}", "task", name, iter(["ner", "re"]))
    assert str(error) == f"--tasks {name}: no task is called {name!r}{hint}"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.MissingOption("x"), 2),
        (errors.ModelError("x"), 2),
        (errors.StorageError("x"), 2),
        (errors.StorageGone("x"), 4),
        (errors.ServerGone("x"), 4),
        (errors.Unfinished("x"), 4),
    ],
)
def test_what_must_be_changed_is_exit_code_2_and_what_can_wait_is_4(error, code):
    assert isinstance(error, TaiyiError)
    assert (str(error), error.exit_code) == ("x", code)


@pytest.mark.parametrize(
    "signal", [errors.FormatError("kind", "x"), errors.QuestionError("x"), errors.EngineDied("x")]
)
def test_a_signal_between_our_own_parts_is_no_error_that_a_person_can_act_on(signal):
    assert isinstance(signal, errors.Signal) and not isinstance(signal, TaiyiError)
    assert str(signal) == "x"


def test_a_format_error_has_a_kind():
    assert errors.FormatError("not_json", "x").kind == "not_json"
