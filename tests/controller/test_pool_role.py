"""What the controller asks the pool for needs no greater role than the one that every document names."""

import re

from xapi_reference import PROJECT, reference

ROLE = "vm-power-admin"
# Of several controllers one leads by a lease that the pool itself keeps; only that takes more.
ROLE_TO_LEAD = "pool-operator"
CALLS_TO_LEAD = {"pool.add_to_other_config", "pool.remove_from_other_config"}
_CALL = re.compile(r'"(?:Async\.)?(\w+\.[a-z_]+)"')
_DOCUMENTS = ("README.md", "deploy/README.md", "docs/quickstart.md", "docs/security.md")


def sources() -> str:
    """Return all of the controller's program text, in which calls are named as XenAPI names them."""
    return "\n".join(path.read_text() for path in sorted((PROJECT / "controller/migd_controller").rglob("*.py")))


def test_every_call_to_the_pool_is_permitted_to_the_role_and_one_asks_for_it() -> None:
    roles = {
        f"{class_['name']}.{message['name']}": message["roles"]
        for class_ in reference("xenapi.json")
        for message in class_["messages"]
    }
    # `migctl doctor` looks for what changes roles among the user's permissions, and does not call it.
    called = {name for name in _CALL.findall(sources()) if name in roles} - {"subject.add_to_roles"}
    assert {"VM.pool_migrate", "VM.add_to_blocked_operations", "event.from", "task.get_record"} <= called
    assert {name for name in called if ROLE not in roles[name]} == CALLS_TO_LEAD
    assert {name for name in called if ROLE_TO_LEAD not in roles[name]} == set()
    assert "vm-admin" not in roles["VM.pool_migrate"]


def test_no_other_role_is_named_to_whoever_installs_one_controller() -> None:
    told = {name: (PROJECT / name).read_text() for name in _DOCUMENTS}
    told["controller.example.toml"] = (PROJECT / "controller/controller.example.toml").read_text()
    assert [name for name, text in told.items() if ROLE not in text] == []
    others = re.compile(r"\b(pool-operator|vm-admin)\b")
    everything = {**told, "program": sources()}
    named = {name: set(others.findall(text)) for name, text in everything.items() if others.search(text)}
    assert named == {"controller.example.toml": {ROLE_TO_LEAD}, "program": {ROLE_TO_LEAD}}
