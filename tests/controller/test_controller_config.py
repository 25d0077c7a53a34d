"""The shipped example is a configuration, and every key in it exists."""

from pathlib import Path

import pytest

from migd_controller.config import ControllerConfig, RecordSection, ShadowSection, SlurmSection
from migd_core import config
from migd_core.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "controller" / "controller.example.toml"


def test_the_example_loads_and_names_its_files() -> None:
    loaded = config.load(EXAMPLE, ControllerConfig)
    assert loaded.telemetry.agents_file == Path("/etc/migd/agents.toml")
    assert loaded.policy.name == "observe"


def test_the_example_loads_with_every_comment_taken_away_and_shows_the_defaults() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    keys = [
        line.removeprefix("# ") if line.startswith("# ") and ("=" in line or "[" in line) else line for line in lines
    ]
    text = "\n".join(line for line in keys if not line.startswith("#") and not line[:1].isupper())
    shown = config.parse(text, ControllerConfig)
    defaults = config.load(EXAMPLE, ControllerConfig)
    for name in (
        "guards",
        "ledger",
        "policy",
        "period_s",
        "keep_s",
        "keep_samples_s",
        "socket",
        "socket_mode",
        "state_dir",
    ):
        assert getattr(shown, name) == getattr(defaults, name), name
    assert shown.topology.links
    assert shown.record == RecordSection(folder=Path("/var/lib/migd/record"))
    assert shown.slurm == SlurmSection(nodes={"n01": "rank0"})
    assert shown.shadow == (ShadowSection(name="job-time", label="patient", config={"sustained_periods": 12}),)


def test_a_record_of_less_than_two_parts_is_an_error() -> None:
    text = EXAMPLE.read_text(encoding="utf-8") + "[record]\nkeep_bytes = 1000000\n"
    with pytest.raises(ConfigError, match="record: keep_bytes 1000000 is less than two parts of part_bytes 67108864"):
        config.parse(text, ControllerConfig, name="controller.toml")


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ('url = "mysql://db/migd"', "journal.url"),
        (
            'password_file = "/p"',
            "journal: password_file is for the server that url names: give both, or neither for a file",
        ),
        ("max_bytes = 4096", "journal.max_bytes"),
    ],
)
def test_a_journal_that_cannot_be_is_an_error_that_names_it(section: str, why: str) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace("[journal]", f"[journal]\n{section}\n#")
    with pytest.raises(ConfigError, match=why):
        config.parse(text, ControllerConfig, name="controller.toml")


def test_two_shadows_of_one_label_are_an_error_that_names_it() -> None:
    twice = '[[shadow]]\nname = "job-time"\n[[shadow]]\nname = "balance"\nlabel = "job-time"\n'
    with pytest.raises(ConfigError, match="two \\[\\[shadow\\]\\] sections are called job-time"):
        config.parse(EXAMPLE.read_text(encoding="utf-8") + twice, ControllerConfig, name="controller.toml")


def test_a_key_of_the_wrong_unit_is_told_the_right_one() -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace("# cooldown_s = 1800.0", "cooldown_min = 30")
    with pytest.raises(ConfigError, match=r"guards\.cooldown_min: unknown key; did you mean cooldown_s\?"):
        config.parse(text, ControllerConfig, name="controller.toml")


def test_a_file_name_must_be_text() -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace('agents_file = "/etc/migd/agents.toml"', "agents_file = 7")
    with pytest.raises(ConfigError, match=r"telemetry\.agents_file: expected a file name, found 7"):
        config.parse(text, ControllerConfig, name="controller.toml")
