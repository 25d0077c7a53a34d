"""What only the pool can tell: as whom migd is logged in, and which certificates its hosts show."""

import asyncio
from collections.abc import Mapping
from typing import Final

from cryptography import x509

from migd_controller.doctor.pool import PoolFacts, PoolUser
from migd_controller.pool_calls import PoolCalls
from migd_controller.xapi import Pool, PoolRefusal, PoolUnreachable

# Whoever asked is answered by then: migctl waits for 20 s.
LIMIT_S: Final = 10.0


class PoolQuestions:
    """Asks one pool."""

    def __init__(self, pool: Pool, calls: PoolCalls) -> None:
        self._pool, self._calls = pool, calls

    async def ask(self, addresses: Mapping[str, str]) -> PoolFacts:
        """Return what the pool tells now; `addresses` is where its hosts answer, by their names."""
        try:
            async with asyncio.timeout(LIMIT_S):
                record = await self._calls.once(self._pool.session_record)
                shown = await asyncio.gather(*(self._certificate(address) for address in addresses.values()))
        except (PoolRefusal, PoolUnreachable) as error:
            return PoolFacts(problem=str(error))
        except TimeoutError:
            return PoolFacts(problem=f"no answer within {LIMIT_S:g} s")
        expires_at, untrusted = {}, {}
        for host, certificate in zip(addresses, shown, strict=True):
            match certificate:
                case bytes():
                    expires_at[host] = x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp()
                case str():
                    untrusted[host] = certificate
        user = PoolUser(
            name=record["auth_user_name"] or "root",
            is_local_superuser=bool(record["is_local_superuser"]),
            permissions=frozenset(each.lower() for each in record["rbac_permissions"]),
        )
        return PoolFacts(user, "", expires_at, untrusted)

    async def _certificate(self, address: str) -> bytes | str | None:
        """Return the certificate of the host at `address`, why there is none, or None where none is needed."""
        try:
            return await self._calls.once(self._pool.certificate, address)
        except PoolUnreachable as error:
            return str(error)
