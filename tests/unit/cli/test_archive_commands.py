"""`backupsvc archive ...` as its users meet it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backupsvc.cli.archive import app
from backupsvc.errors import ArchiveError, UsageError
from tests.unit.archives.hostile import dated

SAMPLES = Path(__file__).parents[2] / "golden" / "vma_samples"
GOOD = SAMPLES / "vzdump-qemu-108-2026_03_10-21_00_03.vma.zst"
PLAIN = SAMPLES / "vzdump-qemu-109-2026_03_09-21_01_10.vma"
CUT = SAMPLES / "truncated.vma.zst"
run = CliRunner().invoke


def test_an_intact_archive_is_exit_0_and_says_so() -> None:
    result = run(app, ["verify", str(GOOD)])
    assert result.exit_code == 0
    assert f"{GOOD}: intact" in result.output
    assert "4ebe4d21e89c71b8290c4249653147261f29461d9224757fc43f9f3a733e4f5b" in result.output
    assert "structure only" not in result.output


def test_an_archive_without_checksum_is_never_said_to_be_more_than_whole_in_structure() -> None:
    result = run(app, ["verify", str(PLAIN)])
    assert result.exit_code == 0 and "structure only" in result.output


def test_one_bad_archive_among_good_ones_is_exit_1_with_what_and_where() -> None:
    result = run(app, ["verify", str(GOOD), str(CUT), str(PLAIN)])
    assert result.exit_code == 1
    assert (
        f"{CUT}: NOT intact\n  the file ends in the middle of its zstd data (premature end) (at "
        "offset 41165 of the file)" in result.output
    )
    assert f"{PLAIN}: intact" in result.output, "the ones after it are verified too"


def test_quiet_says_only_what_is_bad() -> None:
    assert run(app, ["verify", "-q", str(GOOD)]).output == ""
    assert str(GOOD) not in run(app, ["verify", "--quiet", str(GOOD), str(CUT)]).output


def test_json_is_one_object_with_every_archive() -> None:
    result = run(app, ["verify", "--json", str(GOOD), str(CUT)])
    assert result.exit_code == 1
    archives = json.loads(result.stdout)["archives"]
    assert [(archive["file"], archive["intact"]) for archive in archives] == [
        (str(GOOD), True),
        (str(CUT), False),
    ]
    assert archives[1]["problems"][0]["offset"] == 41165


@pytest.mark.parametrize("command", [["verify"], ["info"], ["extract"]])
def test_a_missing_file_is_wrong_usage_before_anything_is_read(
    command: list[str], tmp_path: Path
) -> None:
    more = [str(tmp_path / "out")] if command == ["extract"] else []
    result = run(app, [*command, str(tmp_path / "gone.vma"), *more])
    assert isinstance(result.exception, UsageError) and result.exception.exit_code == 2
    assert (
        "gone.vma cannot be read: No such file" in result.exception.message
        and result.exception.hint
    )
    assert isinstance(run(app, [*command, str(tmp_path), *more]).exception, UsageError), (
        "a folder is no file"
    )


def test_info_tells_the_guest_its_disks_and_its_config() -> None:
    output = run(app, ["info", str(GOOD)]).output
    for words in (
        "guest    qemu 108 lab-two-disks",
        "2026-11-23T07:29:56Z",
        "drive-scsi1: 8388608 bytes (8.0 MiB), 128 clusters",
        "memory: 512",
    ):
        assert words in output


def test_info_in_json_has_the_keys_of_the_contract() -> None:
    told = json.loads(run(app, ["info", str(GOOD), "--json"]).stdout)
    assert set(told) == {
        "schema",
        "file",
        "format",
        "vmid",
        "type",
        "name",
        "ctime",
        "uuid",
        "devices",
        "configs",
    }
    assert (told["vmid"], told["type"], told["name"]) == (108, "qemu", "lab-two-disks")


def test_extract_writes_the_disks_and_names_them(tmp_path: Path) -> None:
    result = run(app, ["extract", str(GOOD), str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert [(Path(file["file"]).name, file["size"]) for file in told["files"]] == [
        ("drive-scsi0.raw", 16777216),
        ("drive-scsi1.raw", 8388608),
        ("qemu-server.conf", 474),
    ]
    assert run(app, ["extract", str(PLAIN), str(tmp_path / "text")]).output.split() == [
        str(tmp_path / "text" / name)
        for name in ("drive-virtio0.raw", "qemu-server.conf", "qemu-server.fw")
    ]


def test_extract_of_a_damaged_archive_is_an_error_that_names_the_offset(tmp_path: Path) -> None:
    result = run(app, ["extract", str(CUT), str(tmp_path / "out")])
    assert isinstance(result.exception, ArchiveError) and result.exception.offset == 41165
    assert not (tmp_path / "out").exists()


def test_importing_the_commands_imports_neither_readers_nor_rich() -> None:
    code = (
        "import sys, backupsvc.cli.archive; print([m for m in sys.modules if 'archives' in m or m "
        "in ('rich', 'backports')])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize("ctime", [2**62, -(2**63), 253402300800])
def test_info_tells_a_time_that_no_calendar_has_as_what_it_is(ctime: int, tmp_path: Path) -> None:
    path = tmp_path / "x.vma"
    path.write_bytes(dated(ctime))
    result = run(app, ["info", str(path)])
    assert (
        result.exit_code == 0
        and f"created  {ctime} seconds after 1970, which is no date" in result.output
    )
    assert json.loads(run(app, ["info", "--json", str(path)]).stdout)["ctime"] == ctime


def test_extract_says_first_what_it_would_write_and_writes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "disks"
    foreseen = json.loads(
        run(app, ["extract", str(GOOD), str(target), "--dry-run", "--json"]).output
    )
    assert foreseen["dry_run"] and not target.exists()
    assert "would write" in run(app, ["extract", str(GOOD), str(target), "--dry-run"]).output
    done = json.loads(run(app, ["extract", str(GOOD), str(target), "--json"]).output)
    assert foreseen["files"] == done["files"]
    again = run(app, ["extract", str(GOOD), str(target), "--dry-run"])
    assert isinstance(again.exception, UsageError) and "exists already" in str(again.exception)


def test_extract_foresees_nothing_of_a_file_that_is_no_vms_archive(tmp_path: Path) -> None:
    (tmp_path / "none.vma").write_bytes(b"VMA\0" + bytes(40))
    broken = run(app, ["extract", str(tmp_path / "none.vma"), str(tmp_path / "x"), "--dry-run"])
    assert isinstance(broken.exception, ArchiveError)
