"""Names of a guest's files, as names of files here."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.filesystems.names import landing_name, parts_of

NAMES = st.text(max_size=300) | st.binary(max_size=300).map(
    lambda data: data.decode("utf-8", "surrogateescape")
)


@pytest.mark.parametrize(
    "name", ["hosts", ".bashrc", "größe ☃", "a b", "...", "x" * 255, "-rf", "~"]
)
def test_a_plain_name_stays(name: str) -> None:
    assert landing_name(name) == name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("..", "\\x2e\\x2e"),
        (".", "\\x2e"),
        ("", "unnamed"),
        ("a/b", "a\\x2fb"),
        ("../../etc/passwd", "..\\x2f..\\x2fetc\\x2fpasswd"),
        ("a\0b", "a\\x00b"),
        ("\x1b[31m\n", "\\x1b[31m\\n"),
        ("gpj\u202e.exe", "gpj\\u202e.exe"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_a_name_that_would_act_or_lead_elsewhere_is_written_out(name: str, safe: str) -> None:
    assert landing_name(name) == safe


@given(NAMES)
def test_whatever_the_name_its_file_lies_in_its_folder_and_is_visible(name: str) -> None:
    safe = landing_name(name)
    assert 0 < len(safe.encode()) <= 255 and safe not in (".", "..")
    assert "/" not in safe and os.sep not in safe
    assert not {unicodedata.category(one) for one in safe} & {"Cc", "Cs"}
    assert landing_name(safe) == safe


def test_a_long_name_is_cut_between_two_letters() -> None:
    safe = landing_name("☃" * 200)
    assert safe == "☃" * 80 + "~"


@pytest.mark.parametrize("path", ["etc/nginx", "/etc/nginx", "//etc/./nginx/"])
def test_a_path_is_its_parts(path: str) -> None:
    assert parts_of(path) == ("etc", "nginx")
    assert parts_of("/") == ()
