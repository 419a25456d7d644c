"""The pages of the repository, and what is in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_NAMED = re.compile(r"`((?:policies|backupsvc|workers|pvelab|tests|docs|deploy)/[\w./-]*)`")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Every page: at the root, below docs, and the changelog's own."""
    return sorted(
        [
            *ROOT.glob("*.md"),
            *(ROOT / "docs").rglob("*.md"),
            *(ROOT / "changelog.d").glob("README.md"),
        ]
    )


def prose(page: Path) -> str:
    """A page without its examples."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Where a page's links lead, those to other hosts left out."""
    return [
        target
        for target in _LINK.findall(prose(page))
        if "://" not in target and not target.startswith("mailto:")
    ]


def named_files(text: str) -> list[str]:
    """The files of the repository that a text names between backticks."""
    return _NAMED.findall(text)


def anchors(page: Path) -> set[str]:
    """What can be jumped to in a page: its headings, as the forge names them, and the anchors that
    it sets.
    """
    text = prose(page)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {slug(heading) for heading in headings} | set(re.findall(r'<a id="([^"]+)"></a>', text))


def slug(heading: str) -> str:
    """Given a heading, return its anchor: letters, digits, hyphens and low lines, in small
    letters.
    """
    plain = re.sub(r"<[^>]*>|[`*]", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
