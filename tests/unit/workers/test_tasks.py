"""Who imports what the tasks need: workers do, once, and beat does without."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from workers.app import app
app.loader.init_worker()  # as beat and workers begin
assert {"workers.tasks.tick", "workers.tasks.poll", "workers.tasks.advance", "workers.pulse.beat"} <= set(app.tasks)
print("sqlalchemy" in sys.modules, "workers.site" in sys.modules)
from celery.signals import worker_init
((_, failed),) = worker_init.send(sender=None)
print("sqlalchemy" in sys.modules, "workers.site" in sys.modules, failed)
"""


BROKEN = """
import sys
sys.modules["backupsvc.operations.tick"] = None
import workers.tasks
from celery.signals import worker_init
worker_init.send(sender=None)
print("it goes on")
"""


@pytest.mark.slow
def test_a_worker_that_lacks_what_the_tasks_need_ends_at_once_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "this worker cannot work: " in done.stderr and "backupsvc.operations.tick" in done.stderr


@pytest.mark.slow
def test_beat_knows_the_tasks_without_what_they_need_and_a_worker_imports_it_once() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False False\nTrue True None\n", "")
