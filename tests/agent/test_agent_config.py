"""The configuration file: the one that is shipped, and the mistakes people make in theirs."""

import re
from pathlib import Path

import pytest

from migd_agent.config import AgentConfig, AutoGuests, ControllerSection, SimGuests, load
from migd_core import config
from migd_core.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "agent" / "agent.example.toml"
CONTROLLER = 'controller = {endpoint = "tcp://c:7201", public_key_file = "p", secret_key_file = "s"}\n'


def test_the_shipped_example_loads() -> None:
    shipped = load(EXAMPLE)
    assert shipped.measure.guests == AutoGuests()
    assert shipped == AgentConfig(controller=shipped.controller)


def test_the_shipped_example_with_every_comment_taken_off_shows_the_defaults() -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace('source = "auto"  ', "")
    opened = re.sub(r"^# (?=[a-z_]+ = |\[)", "", text, flags=re.MULTILINE)
    shown = config.parse(opened, AgentConfig)
    sim = SimGuests(url="http://127.0.0.1:8089")
    assert shown.measure.guests == sim
    assert shown == AgentConfig(controller=shown.controller, measure=type(shown.measure)(guests=sim))


def test_a_minimal_file_is_enough() -> None:
    minimal = config.parse(CONTROLLER, AgentConfig)
    assert minimal.controller == ControllerSection(endpoint="tcp://c:7201", public_key_file="p", secret_key_file="s")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the whole file: object missing required field `controller`"),
        (CONTROLLER + "[measure]\nperiod = 1", "measure.period: unknown key; did you mean period_s?"),
        (
            CONTROLLER + '[measure]\nperiod_s = "1s"',
            "measure.period_s: expected `float`, got `str`, found '1s'; write a plain number of seconds",
        ),
        (CONTROLLER + "[measure]\nperiod_s = 0", "measure.period_s: expected `float` >= 0.05, found 0"),
        (
            CONTROLLER + '[measure]\nguests = {source = "xenstat"}',
            "measure.guests.source: expected one of auto, xen, sim, none, found 'xenstat'",
        ),
        (
            CONTROLLER + '[measure]\nguests = {source = "sim"}',
            "measure.guests: object missing required field `url`",
        ),
        (
            CONTROLLER + '[measure]\nguests = {source = "sim", url = "https://pool"}',
            r"measure.guests.url: expected `str` matching regex '^http://[^\\s/:]+(:\\d{1,5})?/?$', found 'https://pool'",
        ),
        (
            CONTROLLER + '[measure]\nguests = {source = "sim", url = "http://a:99999"}',
            "measure.guests: port out of range 0-65535",
        ),
        (
            CONTROLLER + '[measure]\ncollectors_off = ["dom0"]',
            "measure.collectors_off[0]: expected one of guests, dirty-curve, found 'dom0'",
        ),
        (
            CONTROLLER.replace("7201", "65535"),
            "controller: expected a port from 1 to 65535, found 65536 in 'tcp://c:65536'",
        ),
        (
            CONTROLLER.replace("7201", "72010"),
            "controller: expected a port from 1 to 65535, found 72010 in 'tcp://c:72010'",
        ),
        (
            CONTROLLER.replace("tcp://", ""),
            "controller.endpoint: expected something like tcp://controller.example.org:7201, found 'c:7201'",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, AgentConfig, name="agent.toml")
    assert str(caught.value) == f"agent.toml: {expected}"
