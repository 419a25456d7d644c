"""``backupsvc operations``: its words, its JSON and its exit codes, over a real catalog and steps
by script.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from backupsvc import bootstrap
from backupsvc.cli.completing import offered, operation_ids
from backupsvc.cli.operations import app
from backupsvc.engine.foreground import Engine
from backupsvc.errors import BackupsvcError, PveError, Refused, UsageError
from backupsvc.operations.backup.memory import BackupMemory
from backupsvc.operations.job_run.memory import NightMemory
from backupsvc.operations.kinds import KINDS
from backupsvc.operations.services import Run
from backupsvc.requester import person
from backupsvc.serve.queues import QUEUES
from policies.external_backups import Beside
from tests.unit.operations.worlds import World, kinds_with, operation_of, world


def no_room(run: Run[BackupMemory]) -> None:
    run.note("task-ended", "UPID:x", exitstatus="job errors", log=["ERROR: no space left"])
    raise PveError("no room on local", "make room")


class Site:
    """A world behind ``open_service``; its dumps fail until ``healed``."""

    def __init__(self, made: World) -> None:
        self.world, self.healed = made, False
        self.world.settings = SimpleNamespace(simulated=False, tick=30.0)

    def engine(self, foreground: bool = True) -> Engine:
        steps: dict[str, Any] = dict.fromkeys(
            KINDS["backup"].workflow.steps + KINDS["backup"].workflow.cleanup, lambda run: None
        )
        steps |= {} if self.healed else {"dump": no_room}
        return Engine(self.world, kinds_with({"backup": steps, "prune": {}}), foreground=foreground)

    @contextmanager
    def service(self, *, foreground: bool = True) -> Iterator[Any]:
        self.world.engine = self.engine(foreground)
        yield self.world

    def failed(self) -> str:
        engine = self.engine()
        return engine.drive_one(
            engine.open("backup", 108, BackupMemory("nightly", name="Debian"))
        ).id

    def open(self, subject: int = 109) -> str:
        operation = self.engine(foreground=False).open("backup", subject, BackupMemory("nightly"))
        assert operation is not None
        return operation.id


@pytest.fixture
def site(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(world(sqlite_url))
    monkeypatch.setattr(bootstrap, "open_service", made.service)
    yield made
    made.world.catalog.close()


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def answer(*words: str) -> Any:
    return json.loads(run(*words, "--json").stdout)


def refusal(*words: str) -> BackupsvcError:
    error = run(*words).exception
    assert isinstance(error, BackupsvcError)
    return error


def test_the_list_says_where_each_stands_and_who_drives_it_or_when_it_is_due(site: Site) -> None:
    failed, waiting = site.failed(), site.open()
    rows = answer("list")["operations"]
    assert [row["id"] for row in rows] == [waiting, failed]
    assert [(row["state"], row["result"]) for row in rows] == [
        ("open", None),
        ("failed", "no room on local"),
    ]
    assert rows[0]["standing"] == f"due since {rows[0]['due']}"
    assert "no room on local" in run("list").stdout


def test_the_list_can_be_narrowed(site: Site) -> None:
    failed, waiting = site.failed(), site.open()
    assert [row["id"] for row in answer("list", "--open")["operations"]] == [waiting]
    assert [row["id"] for row in answer("list", "--state", "failed")["operations"]] == [failed]
    assert [
        row["id"] for row in answer("list", "--vmid", "108", "--kind", "backup")["operations"]
    ] == [failed]
    assert run("list", "--kind", "prune").stdout == "there is no such operation\n"


@pytest.mark.parametrize(
    "words", [("--kind", "backups"), ("--state", "broken"), ("--open", "--state", "done")]
)
def test_a_filter_that_means_nothing_is_refused_with_what_is_allowed(
    site: Site, words: tuple[str, ...]
) -> None:
    error = refusal("list", *words)
    assert isinstance(error, UsageError) and error.hint


def test_show_prints_every_transition_with_upid_and_log_and_the_next_action(site: Site) -> None:
    id = site.failed()
    said = run("show", id[-6:]).stdout
    assert f"backup {id} of guest 108 (Debian): failed" in said
    assert "UPID:x" in said and "| ERROR: no space left" in said
    assert "-> make room" in said
    assert f"backupsvc operations retry {id}" in said
    assert answer("show", id)["transitions"][-1]["step"] == "settle"


def test_show_follow_exits_as_the_operation_ended(site: Site) -> None:
    assert run("show", site.failed(), "--follow").exit_code == 1
    site.healed = True
    assert run("show", site.failed(), "--follow").exit_code == 0
    assert run("show", site.failed(), "--follow", "--json").exit_code == 0


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_an_id_that_is_unknown_is_a_mistake_with_a_next_action(site: Site, command: str) -> None:
    error = refusal(command, "01NOSUCH")
    assert isinstance(error, UsageError) and "operations list" in error.hint


def test_cancel_ends_what_nobody_drives_here_and_says_so(site: Site) -> None:
    id = site.open()
    result = run("cancel", id[-6:], "--reason", "enough")
    assert result.exit_code == 0
    assert "nobody drives it: its cleanup was done here; it is cancelled" in result.stdout
    assert operation_of(site.world, id).error == f"enough, by {person()}"


def test_cancel_asks_whoever_drives_it(site: Site) -> None:
    id = site.open()
    site.world.catalog.operations.claim(id, site.engine().executor.driver())
    found = answer("cancel", id)["operations"][0]
    assert (found["by"], found["state"]) == ("driver", "open")
    assert found["driver"]


def test_cancel_tried_dry_or_enqueued_ends_nothing_here(site: Site) -> None:
    id = site.open()
    assert answer("cancel", id, "--dry-run")["operations"][0]["by"] == "here"
    assert operation_of(site.world, id).cancel is None
    assert answer("cancel", id, "--enqueue")["operations"][0]["by"] == "workers"
    assert operation_of(site.world, id).state == "open"


def test_what_a_cancelled_night_opened_is_said_to_end_with_it(site: Site) -> None:
    piece = site.open()
    memory = NightMemory("nightly", 1, children={"backup#109": piece})
    night = site.engine(foreground=False).open("night", None, memory, occurrence="nightly@1")
    assert night is not None
    for option, verb in (("--dry-run", "would end"), ("--enqueue", "ends")):
        said = run("cancel", night.id, option).output
        assert f"what it opened {verb} with it: {piece}" in said and "goes on" not in said


def test_nothing_is_cancelled_when_one_of_the_ids_is_wrong(site: Site) -> None:
    id, failed = site.open(), site.failed()
    assert isinstance(refusal("cancel", id, "01NOSUCH"), UsageError)
    assert isinstance(refusal("cancel", id, failed), Refused)
    assert operation_of(site.world, id).state == "open"


def test_retry_opens_another_and_exits_as_it_ends(site: Site) -> None:
    id = site.failed()
    assert run("retry", id).exit_code == 1
    site.healed = True
    found = answer("retry", id)
    assert (found["state"], found["retry_of"]) == ("done", id) and found["id"] != id


def test_retry_tried_dry_opens_nothing(site: Site) -> None:
    id = site.failed()
    assert answer("retry", id, "--dry-run")["asked"] == {
        "job": "nightly",
        "name": "Debian",
        "retry_of": id,
    }
    assert len(answer("list")["operations"]) == 1


def test_an_enqueued_retry_is_left_to_the_workers_and_warns_that_none_is_seen(site: Site) -> None:
    result = run("retry", site.failed(), "--enqueue")
    assert result.exit_code == 0
    assert "--follow" in result.stdout
    assert "WARNING" in result.stderr and "backupsvc serve" in result.stderr
    assert [row["state"] for row in answer("list", "--open")["operations"]] == ["open"]


def test_workers_whose_queues_eat_their_canaries_are_expected_to_come(site: Site) -> None:
    for queue in QUEUES:
        site.world.catalog.heartbeats.record(queue, int(site.world.clock.now()) - 40)
    result = run("retry", site.failed(), "--enqueue", "--json")
    assert json.loads(result.stdout)["workers"] == {"consuming": True, "reasons": []}
    assert "within 30 s" in result.stderr and "WARNING" not in result.stderr


def test_one_silent_queue_is_enough_for_a_warning(site: Site) -> None:
    for queue, ago in zip(QUEUES, (40, 400), strict=True):
        site.world.catalog.heartbeats.record(queue, int(site.world.clock.now()) - ago)
    assert (
        f"queue {QUEUES[1]} has consumed nothing for 400 s"
        in run("retry", site.failed(), "--enqueue").stderr
    )


def test_retry_of_what_is_open_is_refused_with_exit_4(site: Site) -> None:
    assert refusal("retry", site.open()).exit_code == 4


def test_the_shell_offers_open_operations_first(site: Site) -> None:
    waiting, failed = site.open(), site.failed()
    assert [id for id, _ in operation_ids("01")] == [waiting, failed]
    assert operation_ids("ZZ") == []


def test_none_open_is_good_news_and_no_error(site: Site) -> None:
    site.failed()
    result = run("list", "--open")
    assert (result.exit_code, result.stdout) == (0, "no operation is open\n")
    found = run("list", "--open", "--json")
    assert found.exit_code == 0 and json.loads(found.stdout)["operations"] == []


def test_show_tells_of_progress_its_ends_alone_unless_all_is_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = [f"progress {n}% (read {n} bytes, duration {n} sec)" for n in range(1, 101)]
    detail = {
        "exitstatus": None,
        "log": log,
        "plan": {"vmid": 9000, "disks": ["scsi0"]},
        "reasons": ["it is full", "it is off"],
    }

    def dump(run: Run[BackupMemory]) -> None:
        run.note("task-ended", "UPID:y", **detail)
        raise PveError("no", "")

    monkeypatch.setattr("tests.unit.cli.test_operations_commands.no_room", dump)
    id = site.failed()
    short, whole = run("show", id).stdout, run("show", id, "--verbose").stdout
    assert short.count("| progress ") == 2 and "98 more lines of progress" in short
    assert whole.count("| progress ") == 100
    assert [
        line["detail"]["log"]
        for line in answer("show", id)["transitions"]
        if "log" in line["detail"]
    ] == [log]
    assert "plan vmid 9000, disks (scsi0)" in short and "exitstatus" not in short
    assert "reasons it is full; it is off" in short
    assert not [notation for notation in ("None", "{", "['") if notation in short]


def test_a_retry_tells_in_words_what_it_was_asked(site: Site) -> None:
    engine = site.engine()
    asked = BackupMemory(
        "nightly", before=("local:a", "local:b"), keep_all=True, foreign=Beside("PVE job b", 60)
    )
    id = engine.drive_one(engine.open("backup", 108, asked)).id
    said = run("retry", id, "--dry-run").stdout
    assert "job: nightly" in said and "before: local:a, local:b" in said and "keep all: yes" in said
    assert "foreign: origin PVE job b, begins 60" in said and f"retry of: {id}" in said
    assert "version" not in said and "[" not in said and "{" not in said


def test_the_shell_is_offered_no_text_that_it_could_run(site: Site) -> None:
    assert offered("web'$(id)`id`\\[red]\x1b:;&|<>\"") == "web???id??id???red?????????"
    assert offered("Débian-2.example.org, n/a") == "Débian-2.example.org, n/a"
