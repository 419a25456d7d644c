"""What beat, the workers and their supervisor must agree on."""

from __future__ import annotations

STEPS = "steps"  # side effects, which may take minutes
POLLS = "polls"  # short looks at what PVE is doing, and the tick: these never wait behind a step
QUEUES = (STEPS, POLLS)
TASK_SECONDS = 600  # no task may take longer; Celery kills the process of one that does
