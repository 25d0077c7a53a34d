"""TOML has inf and nan; no setting may be either, for an infinite limit switches off in silence what it limits."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import inspect

from migd_agent.config import AgentConfig
from migd_controller.config import ControllerConfig
from migd_core.config import parse
from migd_core.errors import ConfigError
from migd_policies.registry import BUILT_IN
from migd_sim.model import PoolSpec
from migd_sim.run.scenario import Scenario
from migd_xapi.control import Hog
from migd_xapi.faults import AnyFault
from migd_xapi.pool_file import PoolFile

SETTINGS: list[Any] = [ControllerConfig, AgentConfig, PoolFile, Scenario, AnyFault, Hog, *BUILT_IN.values()]


def unbounded(type_: inspect.Type, path: str, seen: set[type]) -> Iterator[str]:
    """Yield the path of every number with a fraction that may be infinite."""
    match type_:
        case inspect.FloatType(le=None, lt=None):
            yield path
        case inspect.StructType(cls=cls, fields=fields):
            if cls not in seen:
                for field in fields:
                    yield from unbounded(field.type, f"{path}.{field.encode_name}", seen | {cls})
        case inspect.UnionType(types=types):
            for one in types:
                yield from unbounded(one, path, seen)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            yield from unbounded(item, f"{path}[]", seen)
        case inspect.TupleType(item_types=items):
            for item in items:
                yield from unbounded(item, f"{path}[]", seen)
        case inspect.DictType(value_type=value):
            yield from unbounded(value, f"{path}.*", seen)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: getattr(one, "__name__", "AnyFault"))
def test_every_setting_that_is_a_number_has_a_finite_bound(settings: Any) -> None:
    assert list(unbounded(inspect.type_info(settings), "", set())) == []


@pytest.mark.parametrize("written", ["inf", "nan", "1e999", "-inf"])
def test_work_that_never_ends_or_is_no_number_is_refused_by_its_path(written: str) -> None:
    pool = f"""
        name = "p"
        hosts = [{{ name = "a", cpus = 1, memory_bytes = 1 }}]
        jobs = [{{ name = "j", ranks = ["g"], work_s = {written} }}]
    """
    with pytest.raises(ConfigError, match=r"^configuration: jobs\[0\]\.work_s: expected `float` (<=|>) "):
        parse(pool, PoolSpec)
