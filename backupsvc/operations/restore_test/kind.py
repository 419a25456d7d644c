"""The kind ``restore-test``."""

from __future__ import annotations

from backupsvc.catalog import Catalog
from backupsvc.engine.kind import OperationKind
from backupsvc.operations.restore_test import proving
from backupsvc.operations.restore_test.memory import FORM, facts, recall
from backupsvc.operations.restore_test.steps import HANDLERS, WORKFLOW
from policies.model import Operation, OperationState, Verdict


def _exit_code(catalog: Catalog, operation: Operation) -> int:
    """One that proved nothing is bad though it is done; one that could not be carried out at all
    says why.
    """
    if hard := proving.failed_hard(operation):
        return hard.exit_code
    proof = recall(operation).proof
    return (
        0
        if proof and proof.verdict is Verdict.PROVEN and operation.state is OperationState.DONE
        else 1
    )


RESTORE_TEST = OperationKind(
    WORKFLOW,
    HANDLERS,
    FORM,
    FORM.of(
        lambda memory: (
            f"{memory.proof.verdict}, rung {memory.proof.rung}" if memory.proof else "done"
        )
    ),
    facts,
    exit_code=_exit_code,
    done_hint=lambda operation: (
        f"test the guest once more with `backupsvc restore-test {operation.subject}`"
    ),
    name_of=FORM.of(lambda memory: memory.archive.name if memory.archive else ""),
)
