"""Errors: exit codes, and the known name that was probably meant."""

import pytest

from taiyi_ray import errors
from taiyi_ray.errors import TaiyiError, nearest


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("nr", ["ner", "re"], "; did you mean 'ner'?"),
        ("max_token", ["max_tokens", "max_failed"], "; did you mean 'max_tokens'?"),
        ("diseases", iter(["gene", "disease"]), "; did you mean 'disease'?"),
        ("药品", ["药物", "疾病"], ""),
        ("summary", ["ner", "re"], ""),
        ("ner", [], ""),
    ],
)
def test_nearest(name, known, expected):
    assert nearest(name, known) == expected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.ModelError("x"), 2),
        (errors.StorageError("x"), 2),
        (errors.StorageGone("x"), 4),
        (errors.FormatError("kind", "x"), 2),
        (errors.QuestionError("x"), 2),
        (errors.EngineDied("x"), 2),
        (errors.ServerGone("x"), 2),
        (errors.Unfinished("x"), 4),
    ],
)
def test_every_error_is_a_message_with_an_exit_code(error, code):
    assert isinstance(error, TaiyiError)
    assert (str(error), error.exit_code) == ("x", code)


def test_a_format_error_has_a_kind():
    assert errors.FormatError("not_json", "x").kind == "not_json"
