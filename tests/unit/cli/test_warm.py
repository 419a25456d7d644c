"""A command forked from the warm process is what a new interpreter would have been, and a new one
would have begun at all.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

import grimp
import pytest

import backupsvc
import policies
import pvelab
from tests import warm
from tests.waiting import wait_until

SAID = """
import os, signal, sys, threading
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "raises":
    raise ValueError("nobody catches it")
if sys.argv[1] == "words":
    sys.exit("these are the last words")
print(sys.stdin.read().upper(), sys.argv, os.getcwd(), os.environ["BACKUPSVC_X"], __name__, sys.stdout.isatty(), os.getpgid(0))
print(sorted(n for n in os.listdir("/proc/self/fd") if int(n) < 64 and os.path.exists("/proc/self/fd/" + n)), file=sys.stderr)
print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), file=sys.stderr)
print(threading.active_count(), sys.path[0] == "", file=sys.stderr)
threading.Thread(target=lambda: print("the thread's own words")).start()
"""
CONTRACTS = Path(__file__).parents[3] / "pyproject.toml"
# The heavy packages of others are loaded once, and never collected, so that no child copies them to
# count references. Each of ours is then the first of its layer that its process imports: the layers
# below import none above, and were tried before, but for policies, whose imports have no cycle.
EACH = """
import gc, importlib, json, os, sys
import alembic.command, celery, jinja2, multiprocessing.connection, paramiko, proxmoxer.backends.https
import psycopg, pydantic_settings, pyrage, redis, requests, rich.console, rich.progress, rich.table
import rich.traceback, sqlalchemy.dialects.postgresql, sqlalchemy.dialects.sqlite, sqlmodel
import starlette.applications, structlog.stdlib, typer, uvicorn, yaml
gc.disable()
failed = []
for step in json.loads(sys.argv[1]):
    gc.freeze()
    for name in step["tried"]:
        pid = os.fork()
        if pid == 0:
            try:
                assert name not in sys.modules
                importlib.import_module(name)
            except BaseException as error:
                print(f"{name}: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            failed.append(name)
    for name in step["kept"]:
        importlib.import_module(name)
print(*failed)
"""


def environment(**more: str) -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith("BACKUPSVC_")
    } | more


def afresh(
    words: list[str], env: dict[str, str], stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *words], env=env, input=stdin, capture_output=True, check=False
    )


@pytest.mark.parametrize("word", ["said", "killed", "raises", "words"])
def test_a_forked_program_says_and_ends_as_a_new_one_does(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env, words = environment(BACKUPSVC_X="é"), ["-c", SAID, word, "--json", "\udcff"]
    assert warm.fits(env)
    forked, new = warm.python(words, env, b"stdin"), afresh(words, env, b"stdin")
    assert (forked.returncode, forked.stdout) == (new.returncode, new.stdout)
    assert forked.stderr.splitlines()[-1:] == new.stderr.splitlines()[-1:]
    assert word != "said" or forked.stderr == new.stderr
    assert word != "killed" or forked.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("restore", "--help"),
        ("nonsense",),
        ("restore", "x"),
        ("policy", "check", "missing.yaml"),
        ("doctor", "--json"),
    ],
)
def test_a_forked_command_answers_as_a_new_one_does(words: tuple[str, ...], tmp_path: Path) -> None:
    env = environment(BACKUPSVC_STATE_DIR=str(tmp_path), COLUMNS="100")
    forked = warm.python(["-m", "backupsvc", *words], env)
    (tmp_path / "catalog.db").unlink(missing_ok=True)
    new = afresh(["-m", "backupsvc", *words], env)
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        new.returncode,
        new.stdout,
        new.stderr,
    )


def test_what_is_read_when_an_interpreter_begins_makes_a_new_one() -> None:
    assert not warm.fits(environment(PYTHONIOENCODING="latin-1")) and not warm.fits(
        environment(LC_ALL="C")
    )
    assert not warm.fits(
        {name: value for name, value in os.environ.items() if name != "LANG"} | {"TZ": "Asia/Tokyo"}
    )
    code = "import sys; print(sys.stdout.encoding)"
    assert (
        warm.python(["-c", code], environment(PYTHONIOENCODING="latin-1")).stdout == b"iso8859-1\n"
    )


def test_a_command_that_takes_too_long_is_ended_and_those_beside_it_are_not(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        warm.python(["-c", f"import os, time; open({str(tmp_path / 'pid')!r}, "
                           "'w').write(str(os.getpid())); time.sleep(600)"],
                    environment(), timeout=4)  # fmt: skip
    assert warm.python(["-c", "print('lives')"], environment()).stdout == b"lives\n"
    ended = Path(f"/proc/{(tmp_path / 'pid').read_text()}")
    wait_until(lambda: not ended.exists())  # its parent learns of it a moment later


def layers() -> list[list[str]]:
    """The packages and modules of each layer, the lowest first, as ``lint-imports`` holds them to
    import none above."""
    contracts = tomllib.loads(CONTRACTS.read_text(encoding="utf-8"))["tool"]["importlinter"]
    found = next(one for one in contracts["contracts"] if one["type"] == "layers")["layers"]
    return [re.split(r" [|:] ", layer) for layer in reversed(found)]


def modules(package: ModuleType) -> list[str]:
    """What can be imported of a package of ours, and does nothing when it is."""
    names = [module.name for module in walk_packages(package.__path__, f"{package.__name__}.")]
    return [name for name in names if not name.endswith("__main__") and ".migrations." not in name]


def test_no_import_within_policies_leads_back_to_where_it_began() -> None:
    graph = grimp.build_graph("policies", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(list(TopologicalSorter(imports).static_order())) > len(modules(policies)) > 100


@pytest.mark.slow
def test_each_module_can_be_the_first_of_ours_to_be_imported() -> None:
    names = [*modules(backupsvc), *modules(pvelab)]
    assert len(names) > 250
    tried = [
        [name for name in names if any(f"{name}.".startswith(f"{part}.") for part in layer)]
        for layer in layers()
    ]
    in_none = [name for name in names if not any(name in layer for layer in tried)]
    given = [
        {"tried": [], "kept": modules(policies)},
        {"tried": in_none, "kept": []},  # before anything could have imported them
        *({"tried": layer, "kept": layer} for layer in tried),
    ]
    assert sorted(name for step in given for name in step["tried"]) == sorted(names)
    done = afresh(["-c", EACH, json.dumps(given)], environment())
    assert (done.returncode, done.stdout.strip()) == (0, b""), done.stderr.decode()
