"""``backupsvc retention simulate``: the contract that other programs call."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backupsvc.cli.retention import app
from backupsvc.errors import UsageError

RUNNER = CliRunner()
LISTING: list[dict[str, Any]] = [
    {
        "volid": "local:backup/vzdump-qemu-108-2026_03_09-21_00_02.vma.zst",
        "ctime": 1773086402,
        "vmid": 108,
        "type": "qemu",
        "x": [1],
    },
    {
        "volid": "local:backup/vzdump-qemu-108-2026_03_08-21_00_02.vma.zst",
        "ctime": 1773000002,
        "vmid": 108,
        "type": "qemu",
    },
    {
        "volid": "local:backup/vzdump-lxc-200-2026_03_08-21_00_02.tar.zst",
        "ctime": 1773000002,
        "vmid": 200,
        "type": "lxc",
    },
    {
        "volid": "local:backup/vzdump-qemu-108-keep-me.vma",
        "ctime": 5,
        "vmid": 108,
        "type": "qemu",
        "note": "é",
    },
    {
        "volid": "local:backup/vzdump-qemu-108-2026_03_01-21_00_02.vma",
        "ctime": 9,
        "vmid": 108,
        "type": "qemu",
        "protected": 1,
    },
]


def simulate(*words: str, listing: Any = LISTING, keep: str = "keep-last=1") -> Result:
    text = listing if isinstance(listing, str) else json.dumps(listing)
    return RUNNER.invoke(
        app, ["simulate", "--keep", keep, "--timezone", "Europe/Paris", *words, "-"], input=text
    )


def refused(result: Result) -> UsageError:
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2
    return result.exception


def test_every_archive_comes_back_as_given_with_a_mark_and_reasons() -> None:
    result = simulate()
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert [
        {key: one[key] for key in given} for one, given in zip(answer, LISTING, strict=True)
    ] == LISTING
    assert [one["mark"] for one in answer] == ["keep", "remove", "keep", "renamed", "protected"]
    assert answer[0]["reasons"] == ["keep-last 1/1: newest of 2026-03-09 21:00:02"]


@pytest.mark.parametrize(
    ("words", "marked"),
    [
        (("--vmid", "108"), [True, True, False, True, True]),
        (("--type", "lxc"), [False, False, True, False, False]),
        (("--vmid", "108", "--type", "lxc"), [False] * 5),
    ],
)
def test_what_vmid_and_type_leave_out_comes_back_without_a_mark(
    words: tuple[str, ...], marked: list[bool]
) -> None:
    answer = json.loads(simulate(*words).stdout)
    assert [("mark" in one, "reasons" in one) for one in answer] == [
        (each, each) for each in marked
    ]
    assert [one["volid"] for one in answer] == [one["volid"] for one in LISTING]


def test_a_file_is_read_as_well_as_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "listing.json"
    file.write_text(json.dumps(LISTING), encoding="utf-8")
    result = RUNNER.invoke(
        app, ["simulate", "--keep", "keep-last=1", "--timezone", "Europe/Paris", str(file)]
    )
    assert result.stdout == simulate().stdout


def test_the_time_is_the_one_of_the_name_in_the_given_zone() -> None:
    night = [
        {
            "volid": f"local:backup/vzdump-qemu-108-2026_03_{day:02}-00_30_00.vma",
            "ctime": 1,
            "vmid": 108,
        }
        for day in (8, 9)
    ]
    answer = json.loads(simulate(listing=night, keep="keep-daily=2").stdout)
    assert [one["reasons"][0][-10:] for one in answer] == ["2026-03-08", "2026-03-09"]


def test_numbers_may_come_as_text_as_pve_sometimes_writes_them() -> None:
    listing = [{**LISTING[0], "ctime": "1773086402", "vmid": "108"}]
    assert json.loads(simulate("--vmid", "108", listing=listing).stdout)[0]["mark"] == "keep"


def test_the_answer_can_be_printed_in_any_locale() -> None:
    answer = simulate(listing='[{"volid": "local:backup/\\ud800\u00e9.vma", "ctime": 1}]')
    assert answer.stdout.isascii()
    assert json.loads(answer.stdout)[0]["volid"] == "local:backup/\ud800\u00e9.vma"


def test_an_empty_list_is_an_empty_list() -> None:
    assert json.loads(simulate(listing=[]).stdout) == []


def test_a_table_is_for_people() -> None:
    result = simulate("--table")
    assert result.exit_code == 0
    assert "not covered by any keep rule" in result.stdout
    assert "of each guest, keep 1 last archives: 1 of 5 archives would be removed" in result.stdout


def test_a_refused_keep_string_says_what_pve_says() -> None:
    assert (
        refused(simulate(keep="keep-all=1,keep-last=2")).message
        == "keep-all cannot be set together with other options."
    )


@pytest.mark.parametrize(
    ("listing", "sentence"),
    [
        ("not json", "- is not JSON"),
        ("{}", "- holds no JSON list"),
        ("[1]", "archive 1 is not an object"),
        ('[{"ctime": 1}]', "archive 1 has no volid"),
        ('[{"volid": "local:backup/x.vma"}]', "archive 1 (local:backup/x.vma) has no ctime"),
        ('[{"volid": "local:backup/x.vma", "ctime": true}]', "has no ctime"),
        (
            '[{"volid": "local:backup/x.vma", "ctime": 1, "vmid": "web"}]',
            "a vmid that is not a whole number",
        ),
        ("[" * 100_000, "- is not JSON"),
    ],
)
def test_bad_input_is_one_clear_sentence(listing: str, sentence: str) -> None:
    error = refused(simulate(listing=listing))
    assert sentence in error.message
    assert "a JSON list such as" in error.hint


def test_a_missing_file_an_unknown_zone_and_an_unknown_type_are_refused(tmp_path: Path) -> None:
    missing = tmp_path / "none.json"
    assert (
        "cannot be read"
        in refused(RUNNER.invoke(app, ["simulate", "--keep", "keep-last=1", str(missing)])).message
    )
    assert "not a known time zone" in refused(simulate("--timezone", "Mars")).message
    assert "--type vm" in refused(simulate("--type", "vm")).message


def test_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, backupsvc.cli.retention, backupsvc.cli.policy\n"
        "heavy = {'proxmoxer', 'sqlmodel', 'paramiko', 'celery', 'rich.console', 'jinja2', "
        "'pydantic', 'yaml', 'oncalendar'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_json_wraps_the_list_into_an_object_and_does_not_go_with_a_table() -> None:
    bare, wrapped = simulate(), simulate("--json")
    assert json.loads(wrapped.output)["archives"] == json.loads(bare.output)
    assert "--table" in refused(simulate("--json", "--table")).message
