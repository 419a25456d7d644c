"""False proofs: whatever is not what it seems, a restore test never calls anything proven by it."""

import pytest

pytest.register_assert_rewrite("tests.lab.false_proof.trial")
