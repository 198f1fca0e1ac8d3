from __future__ import annotations

from pathlib import Path

import pytest
from ansible._internal._datatag._tags import TrustedAsTemplate
from ansible.parsing.dataloader import DataLoader
from hypothesis import given
from hypothesis import strategies as st

from engine.executor.inputs import Refused, find_playbook, limit, unsafe_yaml


def test_hosts_become_exactly_themselves() -> None:
    assert limit(("web-1.example", "db_2", "web-1.example")) == "web-1.example,db_2"


@pytest.mark.parametrize(
    "host",
    [
        *[
            "",
            "all",
            "ungrouped",
            "*",
            "web*",
            "a,b",
            "a:b",
            "!a",
            "&a",
            "~a.*",
            "a?",
            "a[0]",
            "-i",
            "--limit",
            "@file",
        ],
        *["a b", "a\nb", "a\tb", "{{ x }}", "{x}", 'a"b', "a'b", "a\\b", "$HOME", "a|b", "a;b", "a\x00b", "::1"],
    ],
)
def test_a_name_that_ansible_reads_as_a_pattern_is_refused(host: str) -> None:
    with pytest.raises(Refused, match="only exact inventory names"):
        limit(("fine", host))


def test_no_host_is_refused_and_never_means_all() -> None:
    with pytest.raises(Refused, match="no host"):
        limit(())


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "mine", tmp_path / "shipped"
    for folder in (first, second):
        folder.mkdir()
        (folder / "both.yml").write_text("[]")
    (second / "there.yml").write_text("[]")
    (tmp_path / "outside.yml").write_text("[]")
    (first / "link.yml").symlink_to(tmp_path / "outside.yml")
    (first / "inside.yml").symlink_to(first / "both.yml")
    return first, second


def test_a_playbook_is_found_in_the_first_folder_that_has_it(folders: tuple[Path, Path]) -> None:
    assert find_playbook("both.yml", folders) == folders[0] / "both.yml"
    assert find_playbook("there.yml", folders) == folders[1] / "there.yml"
    assert find_playbook("inside.yml", folders) == folders[0] / "both.yml"
    assert find_playbook(str(folders[1] / "there.yml"), folders) == folders[1] / "there.yml"


@pytest.mark.parametrize(
    "name", ["", "-e", "no.yml", "../outside.yml", "a/../../outside.yml", "link.yml", "/etc/passwd", "."]
)
def test_nothing_else_is_a_playbook(folders: tuple[Path, Path], name: str) -> None:
    with pytest.raises(Refused):
        find_playbook(name, folders)


TEXT = st.text(st.characters(blacklist_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def texts(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for pair in value.items() for one in pair for text in texts(one)]
        case list():
            return [text for one in value for text in texts(one)]
    return []


def kinds(value: object) -> object:
    """Return what each thing in a value is, however Ansible tags it."""
    match value:
        case dict():
            return {key: kinds(one) for key, one in value.items()}
        case list():
            return [kinds(one) for one in value]
    return next(kind for kind in (bool, int, float, str, type(None)) if isinstance(value, kind))


def read(text: str) -> object:
    """Read as Ansible reads extra variables."""
    return DataLoader().load(TrustedAsTemplate().tag(text))["it"]


@given(VALUES)
def test_variables_come_out_as_they_went_in_and_no_text_is_a_template(value: object) -> None:
    found = read(unsafe_yaml({"it": value}))
    assert found == value
    assert kinds(found) == kinds(value)
    assert not [text for text in texts(found) if TrustedAsTemplate.is_tagged_on(text)]


def test_what_is_tagged_so_would_be_a_template() -> None:
    assert TrustedAsTemplate.is_tagged_on(read('it: "{{ x }}"'))


@pytest.mark.parametrize(
    "text", ["yes", "no", "null", "~", "", "0x10", "010", "1e3", "1:30", "2001-01-01", "=", "<<", ".nan"]
)
def test_a_text_that_looks_like_something_else_stays_a_text(text: str) -> None:
    found = read(unsafe_yaml({"it": text}))
    assert isinstance(found, str)
    assert found == text
    assert read(unsafe_yaml({"it": [text, {text: text}]})) == [text, {text: text}]


@pytest.mark.parametrize("name", ["", "a-b", "{{ x }}", "a b", "1a", "ä"])
def test_a_variable_needs_a_name_that_ansible_takes(name: str) -> None:
    with pytest.raises(Refused):
        unsafe_yaml({name: 1})
