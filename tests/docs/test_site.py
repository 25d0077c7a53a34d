"""The documentation's site is built, has all that the code has, and asks nothing of another network."""

import ast
import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from certificates import pair
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from served import OverTcp

from migd_cli.app import migctl
from migd_controller.pool_failures import MEANINGS
from migd_core.api import ROUTES
from migd_docs.links import mended
from migd_docs.pages import filled
from migd_policies.registry import BUILT_IN

ROOT = Path(__file__).parents[2]


def build(root: Path, into: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of the repository at `root`, strictly, as `make docs` does."""
    return subprocess.run(
        [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--site-dir", into],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built: a link or an anchor that leads nowhere ends the build."""
    into = tmp_path_factory.mktemp("site")
    done = build(ROOT, into)
    assert done.returncode == 0, done.stderr
    return into


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository of one page, with this one's site."""
    root = tmp_path / "repository"
    shutil.copytree(ROOT / "docs" / "site", root / "docs" / "site")
    shutil.copy(ROOT / "mkdocs.yml", root)
    (root / "README.md").write_text("# It\n\n[a page](docs/one.md#a-part)\n")
    (root / "docs" / "one.md").write_text("# One\n\n## A part\n\n[back](../README.md)\n")
    return root


def page(site: Path, name: str) -> str:
    """Return the text of a page, without its markup."""
    article = re.search(r"<article.*</article>", (site / f"{name}.html").read_text(), re.DOTALL)
    assert article is not None
    return html.unescape(re.sub(r"<[^>]+>", "", article[0]))


def headings(site: Path, name: str) -> set[str]:
    """Return the headings of a page."""
    found = re.findall(r"<h[1-6][^>]*>(.*?)<a class=\"headerlink", (site / f"{name}.html").read_text(), re.DOTALL)
    return {html.unescape(re.sub(r"<[^>]+>", "", heading)) for heading in found}


@pytest.mark.parametrize(
    "file", ["controller/controller.example.toml", "agent/agent.example.toml"], ids=["controller", "agent"]
)
def test_every_key_of_the_example_file_is_in_the_reference(site: Path, file: str) -> None:
    keys = set(re.findall(r"^(?:# )?([a-z_]+) = ", (ROOT / file).read_text(), re.MULTILINE))
    assert len(keys) > 10
    markup = (site / "docs" / "reference" / "configuration.html").read_text()
    assert keys - set(re.findall(r"<td><code>([a-z_]+)</code></td>", markup)) <= {
        "source",  # chooses between sections, so it stands in their headings
        "others",  # are sections
        "fast",
        "xen01",
        "rack1",
        "rack2",  # names of an operator's own
        "config",  # holds a table of the policy's own
    }


def test_a_key_is_told_with_its_type_unit_default_and_bounds(site: Path) -> None:
    markup = (site / "docs" / "reference" / "configuration.html").read_text()
    row = re.search(r"<tr>\s*<td><code>behind_ratio</code></td>.*?</tr>", markup, re.DOTALL)
    assert row is not None
    assert re.sub(r"<[^>]+>", "", row[0]).split("\n")[1:-1] == ["behind_ratio", "number", "ratio", "0.05", "≥ 0, ≤ 1"]


def test_every_policy_is_in_the_reference(site: Path) -> None:
    assert set(BUILT_IN) <= headings(site, "docs/reference/configuration")


def test_every_command_is_in_the_reference_with_all_that_its_help_tells(site: Path) -> None:
    told, text = headings(site, "docs/reference/commands"), page(site, "docs/reference/commands")

    def commands(command: click.Command, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        inner = command.commands if isinstance(command, click.Group) else {}
        return [path, *(each for name, child in inner.items() for each in commands(child, (*path, name)))]

    assert isinstance(migctl, click.Group)
    context = click.Context(migctl)
    paths = [
        each
        for name in migctl.list_commands(context)
        if (command := migctl.get_command(context, name)) is not None
        for each in commands(command, (name,))
    ]
    assert len(paths) > 25
    assert {" ".join(("migctl", *path)) for path in paths} <= told
    for path in paths:
        shown = CliRunner().invoke(migctl, [*path, "--help"])
        assert set(re.findall(r"--[a-z-]+", shown.output)) - set(re.findall(r"--[a-z-]+", text)) == set(), path


def test_every_route_is_in_the_reference(site: Path) -> None:
    assert {f"{method} {path}" for method, path in ROUTES} <= headings(site, "docs/reference/api")


async def test_the_metrics_in_the_reference_are_those_that_are_served(site: Path, tmp_path: Path) -> None:
    served = OverTcp(tmp_path, pair(tmp_path).section)
    async with served.answering(), served.on_socket.get("http://localhost/metrics") as answer:
        families = list(text_string_to_metric_families(await answer.text()))
    suffixes = {"counter": "_total"}
    real = {
        (family.name + suffixes.get(family.type, ""), family.documentation)
        for family in families
        if not family.name.startswith("process_") and not family.name.endswith("_created")
    }
    rows = re.findall(
        r"<td><code>(migd_\w+)</code></td>\s*<td>(\w+)</td>\s*<td>.*?</td>\s*<td>(.*?)</td>",
        (site / "docs" / "reference" / "metrics.html").read_text(),
    )
    assert {(name, html.unescape(text)) for name, _, text in rows} == real


def test_nothing_is_asked_of_another_network(site: Path) -> None:
    for file in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = re.sub(r"<a [^>]*>", "", file.read_text())
        asked = re.findall(r"(?:src=|href=|url\(|@import )[\"']?(?:https?:)?//[^\"') >]+", text)
        assert asked == [], file


def test_what_leads_nowhere_ends_the_build(small: Path, tmp_path: Path) -> None:
    with (small / "docs" / "one.md").open("a") as file:
        file.write("\n[a page](nowhere.md), [an anchor](../README.md#nowhere)\n")
    done = build(small, tmp_path / "built")
    assert done.returncode != 0
    assert "'nowhere.md'" in done.stderr
    assert "#nowhere" in done.stderr


@pytest.mark.parametrize(
    ("marked", "complaint"),
    [
        (
            "<!-- made of the code: it --> <!-- until here -->",
            "nothing is made of the code by the name 'it'; there are: ",
        ),
        ("<!-- made of the code: api -->", "what is made of the code by the name 'api' has no end; write "),
        (
            "<!-- made of the code: api --> <!-- made of the code: metrics --> <!-- until here -->",
            "what is made of the code by the name 'api' has no end; write ",
        ),
    ],
    ids=["unknown", "open", "open before another"],
)
def test_a_mark_that_is_wrong_is_named(marked: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}"):
        filled(marked)


@pytest.mark.parametrize(
    ("written", "on_the_site"),
    [
        ("[a](jobs.md#x)", "[a](jobs.md#x)"),
        ("[a](../agent)", "[a](../agent/README.md)"),
        ("[a](../agent/#x)", "[a](../agent/README.md#x)"),
        ("[a](../agent/a.py)", "a (`agent/a.py`)"),
        ("[`a.py`](../agent/a.py)", "`a.py`"),
        ("[a](gone.md)", "[a](gone.md)"),
        ("[a](https://example.org/jobs)", "[a](https://example.org/jobs)"),
        ("```\n[a](../agent/a.py)\n```", "```\n[a](../agent/a.py)\n```"),
        ("![a](../agent/a.py)", "![a](../agent/a.py)"),
    ],
)
def test_a_link_leads_to_the_same_place_on_the_site(tmp_path: Path, written: str, on_the_site: str) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "a.py").touch()
    is_page = {"agent/README.md", "docs/jobs.md"}.__contains__
    assert mended(written, "docs/page.md", tmp_path, is_page) == on_the_site


def test_a_new_page_finds_its_place_and_a_link_to_what_is_no_page_names_it(small: Path, tmp_path: Path) -> None:
    (small / "docs" / "slurm.md").write_text("# Slurm\n\n[the hooks](site/hooks.py), [site](site)\n")
    (small / "docs" / "else.md").write_text("# Something else\n")
    done = build(small, tmp_path / "built")
    assert done.returncode == 0, done.stderr
    navigation = (tmp_path / "built" / "index.html").read_text().partition("<article")[0]
    assert 'href="docs/slurm.html"' in navigation
    assert 'href="docs/else.html"' in navigation
    assert "the hooks (docs/site/hooks.py), site\n" in page(tmp_path / "built", "docs/slurm")


def strings_in(source: str) -> list[str]:
    """Return the texts in Python source, with `…` for what an f-string puts in."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [each.value if isinstance(each, ast.Constant) else "…" for each in node.values]
            found.append("".join(str(part) for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def test_what_operations_quotes_is_what_the_code_says() -> None:
    sources = [path for folder in ("agent", "cli", "controller", "core") for path in (ROOT / folder).rglob("*.py")]
    said = "\n".join(text for path in sources for text in strings_in(path.read_text()))
    rows = re.findall(r"^\| ([^|]*) \|[^|]*\|[^|]*\|$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    quoted = [quote for row in rows for quote in re.findall(r"`([^`]+)`", row) if " " in quote]
    pieces = {piece.strip() for quote in quoted for piece in quote.split("…") if len(piece.strip()) > 3}
    assert len(pieces) > 30
    assert {piece for piece in pieces if piece not in said} == set()


def test_every_failure_is_in_the_reference(site: Path) -> None:
    text = page(site, "docs/reference/failures")
    assert {code for code in MEANINGS if code not in text} == set()
