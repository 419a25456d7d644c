"""What docker-compose.yml starts exists: its commands and health checks are run here as they stand,
all together.

Only what the environment decides differs: where Redis, PostgreSQL and the policy are, and how long
a tick lasts.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import create_engine, text

from tests import postgres
from tests.waiting import HANGS, wait_until

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow
OURS = ("beat", "worker-steps", "worker-polls")


def services() -> dict[str, Any]:
    """The services of the file."""
    found: dict[str, Any] = yaml.safe_load(
        (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    )["services"]
    return found


def environment(home: Path) -> dict[str, str]:
    """The environment in the place of the containers: our programs and PostgreSQL in PATH, a
    policy, no setting of the caller.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BACKUPSVC_")}
    programs = [
        Path(sys.executable).parent,
        postgres._binary("postgres").parent,
        os.environ["PATH"],
    ]
    return kept | {
        "PATH": ":".join(map(str, programs)),
        "BACKUPSVC_STATE_DIR": str(home),
        "BACKUPSVC_POLICY": str(ROOT / "policies" / "sites" / "small.yaml"),
        "BACKUPSVC_PVE__HOST": "127.0.0.1:1",
        "BACKUPSVC_TICK": "3",
    }


@contextmanager
def running(
    words: list[str], env: dict[str, str], log: Path, **user: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until the end of the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, env=env, cwd=log.parent, stdout=output, stderr=output, **user
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(HANGS)
        except subprocess.TimeoutExpired:
            # a worker finishes its task first; systemd and Docker do not wait for ever either
            process.kill()
            process.wait()


@contextmanager
def redis(env: dict[str, str], home: Path) -> Iterator[str]:
    """The file's Redis, on a socket: its URL."""
    where = ["--port", "0", "--unixsocket", str(home / "r.sock"), "--dir", str(home)]
    with running([*shlex.split(services()["redis"]["command"]), *where], env, home / "redis.log"):
        program, *words = services()["redis"]["healthcheck"]["test"][1:]
        check = [program, "-s", str(home / "r.sock"), *words]
        wait_until(
            lambda: subprocess.run(check, capture_output=True, check=False).stdout == b"PONG\n"
        )
        yield f"redis+socket://{home / 'r.sock'}"


@contextmanager
def database(env: dict[str, str], log: Path) -> Iterator[str]:
    """The file's PostgreSQL with the database that its image makes, on a socket, by password: the
    catalog's URL.
    """
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        postgres.Server(home)  # makes the data directory
        with (home / "data" / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = ''\nunix_socket_directories = '{home}'\nfsync = off\n"
            )
        (home / "data" / "pg_hba.conf").write_text(
            "local all postgres trust\nlocal all all scram-sha-256\n"
        )
        words = shlex.split(services()["postgres"]["command"])
        with running(words, env | {"PGDATA": str(home / "data")}, log, **postgres._unprivileged()):
            check = services()["postgres"]["healthcheck"]["test"][1:]
            wait_until(
                lambda: (
                    subprocess.run(check, env=env | {"PGHOST": str(home)}, check=False).returncode
                    == 0
                ),
                log.read_text,
            )
            made = services()["postgres"]["environment"]
            administer = create_engine(
                f"postgresql+psycopg://postgres@/postgres?host={home}", isolation_level="AUTOCOMMIT"
            )
            with administer.connect() as connection:
                connection.execute(
                    text(f"CREATE ROLE {made['POSTGRES_USER']} LOGIN PASSWORD 'se cr@t'")
                )
                connection.execute(
                    text(f"CREATE DATABASE {made['POSTGRES_DB']} OWNER {made['POSTGRES_USER']}")
                )
            administer.dispose()
            yield f"postgresql+psycopg://backupsvc@/backupsvc?host={home}"
    finally:
        shutil.rmtree(home)


def test_every_setting_that_the_file_names_is_one() -> None:
    from backupsvc.settings import Settings

    fields = {name.upper() for name in Settings.model_fields}
    named = {name for name in services()["worker-steps"]["environment"] if name != "PGPASSWORD"}
    assert {variable.removeprefix("BACKUPSVC_").split("__")[0] for variable in named} <= fields


def test_redis_keeps_its_file_and_evicts_nothing_and_the_catalog_is_on_a_volume() -> None:
    assert "--appendonly yes --maxmemory-policy noeviction" in services()["redis"]["command"]
    assert services()["postgres"]["volumes"] == ["postgres:/var/lib/postgresql/data"]


def test_law_7_no_password_stands_in_the_file_or_in_a_command() -> None:
    for name, service in services().items():
        assert "$" not in service["command"], name
        for variable, value in service.get("environment", {}).items():
            if any(word in variable for word in ("PASSWORD", "TOKEN")):
                assert value.startswith("${") and ":?" in value, (
                    f"{name} {variable} has to be given"
                )


def test_the_commands_of_the_file_consume_both_queues_by_redis_and_postgresql(
    tmp_path: Path,
) -> None:
    env = environment(tmp_path)
    checks = {name: services()[name]["healthcheck"]["test"][1:] for name in OURS}
    with ExitStack() as stack:
        env["BACKUPSVC_BROKER__URL"] = stack.enter_context(redis(env, tmp_path))
        env["BACKUPSVC_CATALOG__URL"] = stack.enter_context(
            database(env, tmp_path / "postgres.log")
        )
        env["PGPASSWORD"] = "se cr@t"
        before = [
            subprocess.run(
                check, env=env, cwd=tmp_path, capture_output=True, check=False
            ).returncode
            for check in checks.values()
        ]
        assert before == [3, 3, 3], "nothing runs yet"
        started = {
            name: stack.enter_context(
                running(shlex.split(services()[name]["command"]), env, tmp_path / f"{name}.log")
            )
            for name in OURS
        }

        def healthy() -> bool:
            answers = [
                subprocess.run(check, env=env, cwd=tmp_path, capture_output=True, check=False)
                for check in checks.values()
            ]
            assert all(process.poll() is None for process in started.values())
            return not any(answer.returncode for answer in answers)

        wait_until(
            healthy, lambda: "".join((tmp_path / f"{name}.log").read_text() for name in OURS)
        )
    assert not list(tmp_path.glob("*schedule*")), "beat keeps no file"
