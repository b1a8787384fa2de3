"""Keys: only digests are kept, only who has one is let in, and not more often than agreed."""

from __future__ import annotations

import asyncio
import concurrent.futures as futures
import hashlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from taiyi_ray.errors import ConfigError
from taiyi_ray.serve import keys
from taiyi_ray.serve.keys import EVERYBODY, Caller, Keys, add_key
from taiyi_ray.serve.problems import Problem


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "keys.yaml")


def caller(found: Keys, header: str | None) -> Caller:
    return asyncio.run(found.caller(header))


def refused(found: Keys, header: str | None) -> Problem:
    with pytest.raises(Problem) as problem:
        caller(found, header)
    return problem.value


def test_the_file_holds_the_digest_and_not_the_key(file):
    key = add_key(file, "alice")
    text = Path(file).read_text()
    assert key not in text and len(key) > 40
    assert yaml.safe_load(text) == {"alice": {"sha256": hashlib.sha256(key.encode()).hexdigest()}}


def test_each_key_is_its_own(file):
    alice, bob = add_key(file, "alice"), add_key(file, "bob")
    found = Keys(file)
    assert caller(found, f"Bearer {alice}").name == "alice"
    assert caller(found, f"bearer  {bob} ").name == "bob"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic dXNlcg==", "Bearer no"])
def test_who_has_none_hears_what_to_do(file, header):
    add_key(file, "alice")
    problem = refused(Keys(file), header)
    assert problem.status_code == 401
    assert problem.headers == {"www-authenticate": "Bearer"}


def test_without_a_file_everybody_is_let_in():
    assert caller(Keys(None), None) is EVERYBODY


def test_a_key_may_ask_so_often_and_then_hears_when_to_come_again(file):
    key = add_key(file, "alice")
    Path(file).write_text(Path(file).read_text() + "  requests_a_minute: 3\n")
    other = add_key(file, "bob")
    found = Keys(file)

    async def ask() -> Problem:
        for _ in range(3):
            await found.caller(f"Bearer {key}")
        with pytest.raises(Problem) as problem:
            await found.caller(f"Bearer {key}")
        await found.caller(f"Bearer {other}")  # has a limit of its own
        return problem.value

    problem = asyncio.run(ask())
    assert problem.status_code == 429
    assert 1 <= int(problem.headers["retry-after"]) <= 60


def test_a_key_for_some_models_is_for_no_others(file):
    key = add_key(file, "alice")
    Path(file).write_text(Path(file).read_text() + "  models: ['taiyi:ner']\n")
    found = caller(Keys(file), f"Bearer {key}")
    found.check_model("taiyi:ner")
    with pytest.raises(Problem, match="not for the model 'taiyi'; it is for taiyi:ner") as problem:
        found.check_model("taiyi")
    assert problem.value.status_code == 403


def test_a_key_that_is_taken_out_is_locked_out(file, monkeypatch):
    key = add_key(file, "alice")
    add_key(file, "bob")
    found = Keys(file)
    assert caller(found, f"Bearer {key}").name == "alice"
    values = yaml.safe_load(Path(file).read_text())
    del values["alice"]
    Path(file).write_text(yaml.safe_dump(values))
    monkeypatch.setattr(keys, "_LOOK_AGAIN", 0.0)
    assert refused(found, f"Bearer {key}").status_code == 401


def test_a_broken_file_locks_nobody_out_who_was_in(file, monkeypatch):
    """Half of an edit must not end the service: the keys that were read last go on."""
    key = add_key(file, "alice")
    found = Keys(file)
    Path(file).write_text("alice: [")
    monkeypatch.setattr(keys, "_LOOK_AGAIN", 0.0)
    assert caller(found, f"Bearer {key}").name == "alice"


@pytest.mark.parametrize(
    "text",
    [
        "alice: x",
        "alice: {sha256: 12}",
        "- alice",
        "alice: {sha256: x, foo: 1}",
        "a: [",
        "a: 2020-13-45",
        "[" * 5000,
        "a: \x00",
    ],
)
def test_a_file_of_another_form_is_refused(file, text):
    Path(file).write_text(text)
    with pytest.raises(ConfigError, match="expected names with the digest"):
        Keys(file)


def test_a_missing_file_and_a_name_that_is_there_are_refused(file):
    with pytest.raises(ConfigError, match="no such file; --new-key NAME makes it"):
        Keys(file)
    add_key(file, "alice")
    with pytest.raises(ConfigError, match="already has a key of this name"):
        add_key(file, "alice")


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_keys_that_are_made_at_once_are_all_there(kind, file, request):
    place = file if kind == "file" else f"{request.getfixturevalue('bucket')}/keys.yaml"
    names = [f"name{n}" for n in range(8 if kind == "file" else 4)]
    with futures.ThreadPoolExecutor(len(names)) as pool:
        made = list(pool.map(lambda name: add_key(place, name), names))
    found = Keys(place)
    assert [caller(found, f"Bearer {key}").name for key in made] == names


def test_a_new_file_of_keys_is_its_owners_alone_and_an_old_one_keeps_its_mode(file):
    add_key(file, "alice")
    assert Path(file).stat().st_mode & 0o777 == 0o600
    Path(file).chmod(0o640)
    add_key(file, "bob")
    assert Path(file).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{alice: {sha256: DIGEST}}",
        "alice: {sha256: DIGEST}\n...\n",
        "alice: {sha256: DIGEST}\n---\n",
        "  alice: {sha256: DIGEST}\n",
        "alice:\n  sha256: DIGEST\n  models: [taiyi]\n# the end",
        "\ufeffalice: {sha256: DIGEST}",
        "# nobody yet",
        "",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_of_any_form_is_added_to_rightly_or_left_as_it_is(file, text, encoding):
    data = text.replace("DIGEST", "0" * 64).encode(encoding)
    Path(file).write_bytes(data)
    try:
        before = keys._entries(file)
    except ConfigError:
        before = {}
    try:
        key = add_key(file, "bob")
    except ConfigError as error:
        assert "bob" in str(error) or "expected names" in str(error)
        assert Path(file).read_bytes() == data
    else:
        after = keys._entries(file)
        assert caller(Keys(file), f"Bearer {key}").name == "bob"
        assert {name: after[name] for name in before} == before
        assert Path(file).read_bytes().startswith(data)


@given(name=st.text(max_size=20))
def test_any_name_is_written_so_that_it_reads_back_or_refused(tmp_path_factory, name):
    file = str(tmp_path_factory.mktemp("keys") / "keys.yaml")
    try:
        key = add_key(file, name)
    except ConfigError as error:
        assert "printable" in str(error)
    else:
        assert caller(Keys(file), f"Bearer {key}").name == name
        assert add_key(file, "other")


def test_a_key_is_found_by_its_name_with_what_it_may_ask_for_now(file, monkeypatch):
    add_key(file, "alice")
    found = Keys(file)
    monkeypatch.setattr(keys, "_LOOK_AGAIN", 0.0)
    assert asyncio.run(found.of("alice")) == Caller("alice")
    Path(file).write_text(Path(file).read_text() + "  models: ['taiyi:ner']\n")
    assert asyncio.run(found.of("alice")) == Caller("alice", frozenset({"taiyi:ner"}))
    Path(file).write_text("")
    assert asyncio.run(found.of("alice")) is None
    assert asyncio.run(Keys(None).of("everybody")) == EVERYBODY


def test_keys_may_lie_in_s3(bucket):
    key = add_key(f"{bucket}/keys.yaml", "alice")
    assert caller(Keys(f"{bucket}/keys.yaml"), f"Bearer {key}").name == "alice"
