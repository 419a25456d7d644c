"""What a worker's log says of steps."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from backupsvc import logs
from backupsvc.engine.events import StepEvent
from backupsvc.engine.step_log import log_step
from policies.model import Operation, OperationState

OPERATION = Operation(
    "01JS0000000000000000000001",
    "restore-test",
    108,
    OperationState.OPEN,
    "boot",
    {"scratch": {"node": "lge-pve02"}},
    0,
    0,
)


@pytest.fixture
def kept_logging() -> Iterator[None]:
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    yield
    root.handlers[:] = kept[0]
    root.setLevel(kept[1])


@pytest.mark.usefixtures("kept_logging")
def test_a_step_is_a_line_for_whoever_looks_closely_and_none_for_others() -> None:
    for level, lines in (("debug", 2), ("info", 0)):
        stream = io.StringIO()
        logs.configure(process="worker", level=level, form="json", stream=stream)
        log_step(StepEvent(OPERATION, "step", "boot", node="lge-pve02"))
        log_step(StepEvent(OPERATION, "done", "boot", "the agent answers", 12.3456, "lge-pve02"))
        told = [json.loads(line) for line in stream.getvalue().splitlines()]
        assert len(told) == lines
        if told:
            same = {
                "operation": OPERATION.id,
                "kind": "restore-test",
                "vmid": 108,
                "node": "lge-pve02",
                "step": "boot",
            }
            assert told[0].items() >= {"event": "step", **same}.items() and "seconds" not in told[0]
            assert (
                told[1].items()
                >= {"event": "done", "text": "the agent answers", "seconds": 12.346, **same}.items()
            )
