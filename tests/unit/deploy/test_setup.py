"""The set-up installs what the lab says that it needs, and CI calls what the README tells a user to call."""

from __future__ import annotations

from pathlib import Path

from pvelab.images.packages import required_apt_packages

ROOT = Path(__file__).parents[3]


def test_every_debian_package_of_the_lab_is_installed_by_the_set_up() -> None:
    line = next(line for line in (ROOT / "deploy" / "setup.sh").read_text().splitlines() if line.startswith("packages="))
    assert set(required_apt_packages()) == set(line.removeprefix("packages=").strip('"').split())


def test_the_tests_own_debian_packages_are_installed_without_their_daemons() -> None:
    text = (ROOT / "deploy" / "setup.sh").read_text()
    packages = next(line for line in text.splitlines() if line.startswith("test_packages=")).split('"')[1].split()
    assert packages == ["postgresql", "slapd"]
    for package in packages:
        assert f"systemctl disable --quiet {package}.service" in text


def test_ci_calls_the_command_of_the_readme() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make demo" in (ROOT / "README.md").read_text()
