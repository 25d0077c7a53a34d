"""Which files of the repository make the site, in which order, and what is put into them.

A page has on the site the path that it has in the repository, so that a relative link leads to the same place in both.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from migd_docs import api, commands, configuration, failures, metrics

# What stands in the repository and is a page, or is shown by one.
GLOBS: Final = (
    "*.md",
    "docs/**/*.md",
    "docs/**/*.svg",
    "docs/**/*.png",
    "docs/*.html",
    "docs/*.json",
    "docs/site/*.css",
    "agent/*.md",
    "cli/*.md",
    "controller/*.md",
    "core/*.md",
    "deploy/**/*.md",
    "policies/*.md",
    "sim/*.md",
    "systemd/*.md",
    "tests/scenarios/README.md",
    "xapi/*.md",
)

# Section -> its pages. One that is not there is left out; one of docs/ that is not named comes under `MORE`.
ORDER: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "Start": ("README.md", "docs/quickstart.md", "docs/concepts.md"),
        "Install": ("docs/install-debian.md", "docs/install-xcp-ng.md", "deploy/README.md", "docs/dom0.md"),
        "Decide": (
            "docs/policies.md",
            "docs/jobs.md",
            "docs/slurm.md",
            "docs/model.md",
            "docs/measuring.md",
            "docs/pitfalls.md",
            "docs/brams.md",
        ),
        "Operate": (
            "docs/operations.md",
            "docs/high-availability.md",
            "docs/journal.md",
            "docs/page.md",
            "docs/report.md",
            "docs/replay.md",
            "docs/http.md",
            "docs/logs.md",
        ),
        "Trust": ("docs/security.md", "docs/threat-model.md", "systemd/README.md"),
        "Reference": (
            "docs/reference/configuration.md",
            "docs/reference/commands.md",
            "docs/reference/api.md",
            "docs/reference/metrics.md",
            "docs/reference/failures.md",
            "deploy/prometheus/README.md",
        ),
    }
)
MORE: Final = "More"
INSIDE: Final = "Inside"

# What stands between the two, for readers of a code forge, is replaced by what the code says.
BEGIN: Final = re.compile("<!-- made of the code: (.+?) -->")
END: Final = "<!-- until here -->"
MADE: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "controller.toml": configuration.controller,
        "agent.toml": configuration.agent,
        "policies": configuration.policies,
        "migctl": commands.commands,
        "api": api.api,
        "metrics": metrics.metrics,
        "failures": failures.failures,
    }
)


def sources(root: Path) -> list[str]:
    """Return the paths, below `root`, of the files that make the site."""
    found = {path for glob in GLOBS for path in root.glob(glob) if path.is_file()}
    return sorted(path.relative_to(root).as_posix() for path in found)


def navigation(paths: Iterable[str]) -> list[dict[str, list[str]]]:
    """Return the sections with their pages, every page of `paths` in one of them."""
    pages = [path for path in paths if path.endswith(".md")]
    named = {path for section in ORDER.values() for path in section}
    rest = [path for path in pages if path not in named]
    sections = {title: [path for path in section if path in pages] for title, section in ORDER.items()}
    sections[MORE] = [path for path in rest if path.startswith("docs/")]
    sections[INSIDE] = [path for path in rest if not path.startswith("docs/")]
    return [{title: section} for title, section in sections.items() if section]


def filled(markdown: str) -> str:
    """Return a page with what is marked replaced by what the code says. Raises ValueError for a mark that is wrong."""
    before, *marked = BEGIN.split(markdown)
    parts = [before]
    for name, rest in zip(marked[::2], marked[1::2], strict=True):
        if name not in MADE:
            raise ValueError(f"nothing is made of the code by the name {name!r}; there are: {', '.join(MADE)}")
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(f"what is made of the code by the name {name!r} has no end; write {END} below it")
        parts += [MADE[name](), after]
    return "".join(parts)
