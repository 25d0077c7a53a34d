"""Which policies there are; one that is broken says so and stands in nobody's way."""

from collections.abc import Callable
from pathlib import Path

import pytest

from migd_core.errors import ConfigError, UnknownName
from migd_policies.least_loaded import LeastLoaded
from migd_policies.observe import Observe
from migd_policies.registry import BUILT_IN, available, configure, survey

Install = Callable[..., None]

GOOD = """
from typing import ClassVar
import msgspec
from migd_core.world import Plan, Reason, World

class Good(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: ClassVar[str] = "good"
    summary: ClassVar[str] = "does nothing, well"
    patience: int = 3

    def propose(self, world: World) -> Plan:
        return Plan((), Reason("good", "nothing to do"))
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that leaves in a folder on the path what pip leaves of a package with one policy."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def installed(package: str, policy: str, source: str, target: str = "Good") -> None:
        module = f"{package.replace('-', '_')}_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        entry = f"[migd.policies]\n{policy} = {module}:{target}\n"
        (info / "entry_points.txt").write_text(entry, encoding="utf-8")

    return installed


def test_the_built_in_policies_are_available_under_their_names():
    assert list(available()) == ["observe", "least-loaded", "colocate", "balance", "job-time", "evacuate", "potential"]
    assert all(policy.name == name and policy.summary for name, policy in available().items())


def test_a_policy_without_values_has_its_defaults():
    assert configure("least-loaded", {}) == LeastLoaded()


def test_text_from_a_command_line_becomes_numbers():
    values = {"margin_ratio": "0.2", "sustained_periods": "6"}
    assert configure("least-loaded", values) == LeastLoaded(margin_ratio=0.2, sustained_periods=6)
    with pytest.raises(ConfigError, match="margin_ratio: expected `float`, got `str`"):
        configure("least-loaded", values, strict=True)


def test_an_unknown_policy_names_the_nearest():
    with pytest.raises(UnknownName, match=r"^no policy is called 'least-loadet'; did you mean least-loaded\?$"):
        configure("least-loadet", {})
    with pytest.raises(
        UnknownName,
        match=r"^no policy is called 'x'; there are: observe, least-loaded, colocate, balance, job-time, evacuate, potential$",
    ):
        configure("x", {})


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"^policy least-loaded: margin: unknown key; did you mean margin_ratio\?$"):
        configure("least-loaded", {"margin": "0.1"})


def test_a_value_out_of_range_is_named_with_its_path():
    with pytest.raises(ConfigError, match=r"^policy colocate: min_gain_ratio: expected `float` > 0.0, found '-1'"):
        configure("colocate", {"min_gain_ratio": "-1"})


def test_a_policy_of_an_installed_package_is_available_after_the_built_ins(install: Install):
    install("their-policy", "good", GOOD)
    assert list(available())[-1] == "good"
    assert configure("good", {"patience": "5"}).patience == 5  # type: ignore[attr-defined]
    assert survey().problems == {}


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        (GOOD.replace("propose", "suggest"), "Good", "has no usable propose; add `def propose(self, world: World)"),
        (GOOD.replace("self, world: World", "self"), "Good", "has no usable propose"),
        (GOOD.replace("def propose", "async def propose"), "Good", "has no usable propose"),
        (GOOD.replace("summary:", "about:"), "Good", "has no summary; add `summary: ClassVar"),
        (GOOD.replace('"good"\n', '"other"\n'), "Good", "its entry point is called good, but"),
        (GOOD.replace("int = 3", "int"), "Good", "cannot be made without settings"),
        (GOOD.replace("frozen=True, ", ""), "Good", "must be declared with frozen=True"),
        (GOOD.replace(", forbid_unknown_fields=True", ""), "Good", "must be declared with frozen=True"),
        (
            GOOD.replace("msgspec.Struct, frozen=True, forbid_unknown_fields=True", ""),
            "Good",
            "is not a msgspec Struct",
        ),
        (
            GOOD + "\n    def __post_init__(self):\n        raise SystemExit(3)\n",
            "Good",
            "cannot be made without settings (3)",
        ),
        (GOOD, "Missing", "failed with AttributeError"),
        ("import no_such_module_anywhere", "Good", "failed with ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)", "Good", "failed with SystemExit: 3"),
    ],
)
def test_a_broken_policy_is_left_out_with_a_reason_and_the_rest_go_on(
    install: Install, source: str, target: str, why: str
):
    install("broken-policy", "good", source, target)
    install("their-policy", "fine", GOOD.replace('"good"\n', '"fine"\n'))
    assert list(available()) == [*BUILT_IN, "fine"]
    assert survey().problems["good"].startswith("package broken-policy: ")
    with pytest.raises(UnknownName, match=r"^policy good cannot be used: package broken-policy: ") as raised:
        configure("good", {})
    assert why in str(raised.value)


@pytest.mark.parametrize("raised", ["KeyError('gold')", "SystemExit(3)"])
def test_settings_that_a_policy_fails_at_are_an_error_of_the_configuration(install: Install, raised: str):
    install(
        "their-policy",
        "good",
        GOOD + f"\n    def __post_init__(self):\n        if self.patience > 3:\n            raise {raised}\n",
    )
    with pytest.raises(
        ConfigError, match=r"^policy good: taking its settings failed with (KeyError: 'gold'|SystemExit: 3)$"
    ):
        configure("good", {"patience": 4})


def test_a_policy_cannot_take_the_name_of_a_built_in(install: Install):
    install("usurper", "observe", GOOD.replace('"good"\n', '"observe"\n'))
    install("their-policy", "good", GOOD)
    assert available()["observe"] is Observe
    assert isinstance(configure("observe", {}), Observe)
    assert "good" in available()
    assert survey().problems == {
        "observe": "package usurper offers one of this name too; the built-in one is used, rename the other"
    }


def test_of_two_packages_with_one_name_neither_is_used(install: Install):
    install("one-policy", "good", GOOD)
    install("other-policy", "good", GOOD)
    assert list(available()) == list(BUILT_IN)
    with pytest.raises(UnknownName, match="package one-policy and package other-policy each offer one of this name"):
        configure("good", {})
