"""What beat, the workers and their supervisor must agree on."""

from __future__ import annotations

STEPS = "steps"  # steps that work for minutes or hours, such as reading an archive whole
POLLS = "polls"  # short looks at what PVE is doing, and the tick: these never wait behind a step
QUEUES = (STEPS, POLLS)
TASK_SECONDS = 600  # no look may take longer; Celery kills the process of one that does
# nor a step; one that works shows it every half minute, and counts as consuming its queue
STEP_SECONDS = 24 * 3600
