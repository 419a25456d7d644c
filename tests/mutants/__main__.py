"""``make mutants``: mutate policies, run the tests over each mutation, and list those that no test
noticed.

Each module's own tests come first, and only over what they let pass the other tests that import it.
What was found is kept in .cache/mutants, so that a run goes on where the last one was stopped: a
mutation is tried again when its module has changed, a survivor also when the tests have.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutants.mutations import Mutation, mutated, mutations
from tests.mutants.trial import FULL, QUICK, NoVerdict, killed

ROOT = Path(__file__).resolve().parents[2]
KEPT, EQUIVALENT = ROOT / ".cache" / "mutants", Path(__file__).with_name("equivalent.txt")
NO_DECISIONS = frozenset({"__init__", "en", "fr"})
OTHER_NAMES = {  # the tests of a module, or of the modules of a package, that bear not its name
    "valid_proofs": ["test_objectives"],
    "yaml_reader": ["test_site"],
    "site": ["test_site", "test_site_whole"],
    "i18n": ["test_i18n"],
    "pve.guest_config": ["test_isolation", "test_property_string", "test_property_string_edges"],
    "pve.prune_backups": ["test_retention", "test_retention_edges"],
    "model": ["test_model"],
    "guest_policy": ["test_site"],
    "check_kinds": ["test_checks", "test_site"],
    "compliance.evaluation": ["test_compliance", "test_compliance_edges", "test_node_offline"],
    # of each module there
    "compliance.findings": [
        "test_compliance",
        "test_compliance_edges",
        "test_findings_neighbours",
        "test_node_offline",
    ],
    "compliance.objectives": ["test_compliance"],
    "compliance.rule": ["test_compliance"],
    "compliance.selecting": [
        "test_compliance",
        "test_compliance_edges",
        "test_findings_neighbours",
    ],
    "compliance.scratch_network": ["test_bridges", "test_site"],
}
BAR = 0.9
# a trial that takes so many times as long as the tests over the real module is one that hangs
SLOW = 10


@dataclass
class Tally:
    """What came of a module's mutations. ``left``: not tried for lack of time; ``equivalent``:
    those that change nothing.
    """

    name: str
    killed: int = 0
    left: int = 0
    equivalent: int = 0
    survivors: list[Mutation] = field(default_factory=list)

    @property
    def share(self) -> float:
        """The part of those that were tried and change anything that some test noticed."""
        tried = self.killed + len(self.survivors)
        return self.killed / tried if tried else 1.0


class Kept:
    """What earlier runs found of one module, one JSON line a mutation: by its key and which of the
    equal ones it is.
    """

    def __init__(self, name: str, source: str, tests: str) -> None:
        self._file, self._source, self._tests = KEPT / f"{name}.jsonl", source, tests
        self._found: dict[str, bool] = {}
        for line in self._file.read_text().splitlines() if self._file.exists() else ():
            row = json.loads(line)
            if row["source"] == source and (row["killed"] or row["tests"] == tests):
                self._found[row["id"]] = row["killed"]

    def __getitem__(self, id: str) -> bool | None:
        """Whether it was killed, None if it must be tried."""
        return self._found.get(id)

    def __setitem__(self, id: str, killed: bool) -> None:
        self._found[id] = killed
        KEPT.mkdir(parents=True, exist_ok=True)
        row = {"id": id, "killed": killed, "source": self._source, "tests": self._tests}
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")


def examine(name: str, until: float) -> Tally:
    """Given a module of policies and when to stop (by the monotonic clock), try its mutations;
    return what came of them.
    """
    file, tally = ROOT / _path(name), Tally(name)
    source, equal = file.read_text(), _equivalent(name)
    own, neighbours = tests_of(name)
    kept = Kept(name, _digest([file]), _digest([ROOT / test for test in (*own, *neighbours)]))
    takes: dict[tuple[str, str], float] = {}

    def survives(mutation: Mutation, depth: str, tests: Sequence[str]) -> bool:
        if not tests:
            return True
        if (depth, tests[0]) not in takes:
            takes[depth, tests[0]] = _time_of(name, file, source, tests, depth)
        most = 5 + SLOW * takes[depth, tests[0]]
        return not killed(
            f"policies.{name}", file, mutated(source, mutation), tests, depth=depth, most=most
        )

    numbers: Counter[str] = Counter()
    for mutation in mutations(source):
        numbers[mutation.key] += 1
        id = f"{mutation.key} #{numbers[mutation.key]}"
        if {mutation.key, id} & equal:
            tally.equivalent += 1
            continue
        if kept[id] is None and time.monotonic() < until:
            kept[id] = not (
                survives(mutation, QUICK, own)
                and survives(mutation, FULL, own)
                and survives(mutation, FULL, neighbours)
            )
        if (found := kept[id]) is None:
            tally.left += 1
        elif found:
            tally.killed += 1
        else:
            tally.survivors.append(mutation)
    return tally


def tests_of(name: str) -> tuple[list[str], list[str]]:
    """Given a module of policies, return its own test files, edges first, and those of its
    neighbours, which import it.
    """
    here = ROOT / "tests" / "unit"
    package, _, leaf = name.rpartition(".")
    others = OTHER_NAMES.get(name) or OTHER_NAMES.get(package, [])
    every = sorted(here.glob("policies/**/test_*.py"))
    beside = [
        path for path in every if path.parent == here / "policies" / package.replace(".", "/")
    ]
    own = [
        path
        for path in beside
        if path.stem == f"test_{leaf}" or path.stem.startswith(f"test_{leaf}_")
    ]
    own += [path for path in every if path.stem in others and path not in own]
    room = re.escape(f"policies.{package}".rstrip("."))
    imports = re.compile(
        rf"from {room} import [^\n]*\b{leaf}\b|from policies\.{re.escape(name)} import"
    )
    found = [*every, *sorted(here.glob("report/test_*.py"))]
    neighbours = [path for path in found if path not in own and imports.search(path.read_text())]
    own.sort(key=lambda path: (path.stem not in others, path.stem), reverse=True)
    return [str(path.relative_to(ROOT)) for path in own], [
        str(path.relative_to(ROOT)) for path in neighbours
    ]


def _path(name: str) -> Path:
    """Where a module of policies lies, from the repository's root."""
    return Path("policies", *name.split(".")).with_suffix(".py")


def _time_of(name: str, file: Path, source: str, tests: Sequence[str], depth: str) -> float:
    """How long the tests take over the module as it is. Raise NoVerdict if they fail over it."""
    began = time.monotonic()
    if killed(f"policies.{name}", file, ast.parse(source), tests, depth=depth, most=600):
        raise NoVerdict(f"{', '.join(tests)} fail over {_path(name)} as it is")
    return time.monotonic() - began


def _equivalent(name: str) -> set[str]:
    """The keys of a module's mutations that change nothing that anybody could see, or the ids; each
    line of the file says why.
    """
    lines = [
        line for line in EQUIVALENT.read_text().splitlines() if line and not line.startswith("#")
    ]
    rows = [line.split(" | ") for line in lines]
    return {key for module, key, _ in rows if module == name}


def _digest(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def main() -> int:
    """Examine the modules that are named (none: all of policies) and return the exit code: 1 below
    the bar.
    """
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument(
        "modules", nargs="*", help="modules of policies, such as retention or pve.volid; none: all"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=60,
        help="stop after so many; the next run goes on from there",
    )
    given = parser.parse_args()
    os.nice(19)
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    files = [path.relative_to(ROOT / "policies") for path in (ROOT / "policies").glob("**/*.py")]
    every = sorted(
        ".".join(path.with_suffix("").parts) for path in files if path.stem not in NO_DECISIONS
    )
    until = time.monotonic() + 60 * given.minutes
    tallies = []
    for name in given.modules or every:
        tally = examine(name, until)
        tallies.append(tally)
        for mutation in tally.survivors:
            print(f"{_path(name)}:{mutation.line}: {mutation.key}")
        print(_row(tally), flush=True)
    total = Tally(
        "policies", sum(tally.killed for tally in tallies), sum(tally.left for tally in tallies)
    )
    total.equivalent = sum(tally.equivalent for tally in tallies)
    total.survivors = [mutation for tally in tallies for mutation in tally.survivors]
    print(_row(total))
    return 0 if total.share >= BAR and not total.left else 1


def _row(tally: Tally) -> str:
    tried = tally.killed + len(tally.survivors)
    notes = [f"{tally.equivalent} equivalent"] * bool(tally.equivalent) + [
        f"{tally.left} not tried yet"
    ] * bool(tally.left)
    return (
        f"{tally.name:<40} {tally.killed:>5} of {tried:>5} killed, {tally.share:>6.1%}  "
        f"{', '.join(notes)}"
    ).rstrip()


if __name__ == "__main__":
    sys.exit(main())
