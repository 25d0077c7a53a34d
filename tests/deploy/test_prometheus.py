"""Alert rules and dashboard: what promtool thinks of them, and that what they ask for is there."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import OverTcp

from migd_controller.config import HttpSection

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "migd-alerts.yml"
RULE_TESTS = DEPLOY / "prometheus" / "migd-alerts.test.yml"
DASHBOARD = DEPLOY / "grafana" / "migd.json"
_METRIC = re.compile(r"\bmigd_\w+")
_OF_TYPE = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def promtool(*arguments: str) -> str:
    """Return what promtool says; fails where it finds anything wrong."""
    program = Path(sys.prefix) / "tools" / "promtool"
    found = str(program) if program.exists() else shutil.which("promtool")
    if found is None:
        pytest.skip("there is no promtool here; `make test` brings it where there is apt-get")
    ended = subprocess.run(
        [found, *arguments], cwd=RULES.parent, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_promtool_takes_the_rules() -> None:
    assert "SUCCESS: 20 rules found" in promtool("check", "rules", RULES.name)


def test_promtool_takes_the_scrape_configuration() -> None:
    assert "is valid" in promtool("check", "config", "--syntax-only", "prometheus.example.yml")


def test_each_alert_is_heard_when_it_should_be_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS.name)


def test_every_alert_has_such_a_test() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    tested = set(re.findall(r"alertname: (\w+)\n", RULE_TESTS.read_text()))  # those that say what is heard
    assert len(alerts) == 20
    assert set(alerts) == tested


def expressions(panel: Any) -> Iterator[str]:
    """Yield what a dashboard, a row or a panel asks Prometheus."""
    for target in panel.get("targets", ()):
        yield target["expr"]
    for inner in panel.get("panels", ()):
        yield from expressions(inner)


async def test_every_metric_that_dashboard_and_rules_ask_for_is_told_by_the_controller(tmp_path: Path) -> None:
    served = OverTcp(tmp_path, HttpSection(listen="127.0.0.1:0"))
    # With TLS: tests/controller/test_metrics.py; of several controllers: test_two_controllers.py there.
    told: set[str] = {"migd_http_certificate_expiry_timestamp_seconds", "migd_leading"}
    async with served.answering(), served.on_socket.get("http://localhost/metrics") as answer:
        for family in text_string_to_metric_families(await answer.text()):
            told |= {family.name + suffix for suffix in _OF_TYPE.get(family.type, ("",))}
    dashboard = json.loads(DASHBOARD.read_text())
    asked = {name for text in expressions(dashboard) for name in _METRIC.findall(text)}
    assert len(asked) >= 20
    lines = [line for line in RULES.read_text().splitlines() if "summary:" not in line and "description:" not in line]
    asked |= set(_METRIC.findall("\n".join(lines)))
    assert asked - told == set()


def test_promtool_can_read_what_each_panel_asks_for(tmp_path: Path) -> None:
    """As rules, with a value in the place of each of Grafana's variables."""
    asked = list(expressions(json.loads(DASHBOARD.read_text())))
    texts = [re.sub(r"\$\{?__\w+\}?", "5m", text) for text in asked]
    texts = [re.sub(r"\$\{?\w+(:\w+)?\}?", "any", text) for text in texts]
    assert [text for text in texts if "$" in text] == []
    rules = [{"record": f"panel:expression_{n}", "expr": text} for n, text in enumerate(texts)]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"SUCCESS: {len(asked)} rules found" in promtool("check", "rules", str(file))
    file.write_text(file.read_text().replace('"expr": "', '"expr": "sum(', 1))
    with pytest.raises(AssertionError, match="parse error"):
        promtool("check", "rules", str(file))


def test_the_dashboards_panels_do_not_overlap_and_each_says_what_it_shows() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
