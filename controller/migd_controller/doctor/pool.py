"""Judges what the pool lets migd do, and the certificates that its hosts show."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from migd_controller.core import Core
from migd_controller.doctor.findings import listed, number, ok, problem, warning
from migd_core.api import FindingView
from migd_core.units import format_duration

DAY_S: Final = 86400.0
RENEW_WITHIN_S: Final = 30 * DAY_S
# What migd calls, by the names that XAPI gives permissions (rbac_static.ml); all that VM.pool_migrate asks for comes
# with role vm-power-admin.
NEEDED: Final = (
    "vm.pool_migrate",
    "vm.assert_can_boot_here",
    "vm.add_to_blocked_operations",
    "vm.remove_from_blocked_operations",
    "task.cancel",
)
# What the lease takes besides, where there are several controllers; it comes with role pool-operator.
NEEDED_TO_LEAD: Final = ("pool.add_to_other_config", "pool.remove_from_other_config")
# What pool-admin alone may, which migd never does.
TOO_MUCH: Final = "subject.add_to_roles"


@dataclass(frozen=True, slots=True)
class PoolUser:
    """As whom migd is logged in. `permissions` are XAPI's; a local superuser has none and may do all."""

    name: str
    is_local_superuser: bool
    permissions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What was asked of the pool just now: `problem` says why nothing came of it.

    `expires_at` is until when the certificates are valid (Unix time), by the host's name; `untrusted` why one is not to
    be had or not to be trusted. Both are empty where the pool is reached over plain HTTP.
    """

    user: PoolUser | None = None
    problem: str = ""
    expires_at: Mapping[str, float] = field(default_factory=dict)
    untrusted: Mapping[str, str] = field(default_factory=dict)


def pool_findings(core: Core, facts: PoolFacts, now_s: float) -> list[FindingView]:
    """Return what is to be said of the pool."""
    return [*_reached(core, facts), *_user(core, facts), *_certificates(core, facts, now_s)]


def _reached(core: Core, facts: PoolFacts) -> Iterator[FindingView]:
    url = core.config.xapi.url
    if why := facts.problem or ("" if core.pool.is_reachable else core.pool.problem or "no answer yet"):
        yield problem(
            "pool",
            f"XAPI cannot be used: {why}",
            f"put right what it names in [xapi] of the controller's configuration ({url}); a new password counts at "
            "once, anything else after `systemctl restart migd-controller`",
        )
        return
    hosts, guests = len(core.inventory.hosts), len(core.inventory.guests)
    yield ok("pool", f"{url} answers; it has {number(hosts, 'host')} and {number(guests, 'running guest')}")
    if down := [host.name for host in core.inventory.hosts.values() if not host.is_live]:
        yield warning(
            "pool",
            f"the pool takes {number(len(down), 'host')} for dead: {listed(down)}",
            "bring it back, or `xe host-forget uuid=…` if it is gone for good",
        )


def _user(core: Core, facts: PoolFacts) -> Iterator[FindingView]:
    user = facts.user
    if user is None:
        return
    is_alone = core.config.leader is None
    role, needed = ("vm-power-admin", NEEDED) if is_alone else ("pool-operator", (*NEEDED, *NEEDED_TO_LEAD))
    if user.is_local_superuser:
        yield warning(
            "pool user",
            f"{user.name} is a local superuser of the pool and may do everything; migd needs role {role}",
            f"`xe subject-add subject-name=migd`, `xe subject-role-add uuid=… role-name={role}` (of a pool with "
            "a directory), then xapi.username and xapi.password_file",
        )
        return
    if not user.permissions:
        yield warning(
            "pool user",
            f"the pool does not tell what {user.name} may do",
            f"`xe subject-list` shows the roles of {user.name}: it needs {role}",
        )
        return
    if missing := [each for each in needed if each not in user.permissions]:
        yield problem(
            "pool user",
            f"{user.name} may not call {listed(missing)}",
            f"`xe subject-role-add uuid=… role-name={role}` (`xe subject-list` shows the uuid)",
        )
    elif TOO_MUCH in user.permissions:
        yield warning(
            "pool user",
            f"{user.name} may administer the pool; migd needs role {role}",
            f"`xe subject-role-add uuid=… role-name={role}`, then `xe subject-role-remove uuid=… role-name=pool-admin`",
        )
    else:
        yield ok("pool user", f"{user.name} may do what migd asks for, and does not administer the pool")


def _certificates(core: Core, facts: PoolFacts, now_s: float) -> Iterator[FindingView]:
    for host, why in sorted(facts.untrusted.items()):
        yield warning(
            "certificates",
            f"host {host}: {why}; should it become the coordinator, the pool is lost to migd",
            "add what it shows to xapi.fingerprints, or have it signed by the authority in xapi.ca_file; then "
            "`systemctl restart migd-controller`",
        )
    near = {host: at - now_s for host, at in facts.expires_at.items() if at - now_s < RENEW_WITHIN_S}
    for host, left_s in sorted(near.items()):
        words = f"expires in {format_duration(left_s)}" if left_s > 0 else f"expired {format_duration(-left_s)} ago"
        yield (warning if left_s > 0 else problem)(
            "certificates",
            f"the certificate of host {host} {words}",
            f"on {host}: `xe host-emergency-reset-server-certificate`, or `xe host-server-certificate-install` with "
            "one of your authority; then its fingerprint into xapi.fingerprints, if these are used",
        )
    if facts.expires_at and not near and not facts.untrusted:
        left_s = min(facts.expires_at.values()) - now_s
        yield ok(
            "certificates",
            f"{number(len(facts.expires_at), 'certificate')} trusted, the first expires in {format_duration(left_s)}",
        )
    if not (facts.expires_at or facts.untrusted) and core.config.xapi.url.startswith("http://"):
        yield ok("certificates", "none are needed: XAPI is reached over loopback")
