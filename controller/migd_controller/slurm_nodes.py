"""Which guest a node of Slurm is: by [slurm.nodes], else by its name, exactly or as a host name."""

from collections.abc import Mapping

from migd_controller.config import SlurmSection
from migd_controller.events import PoolGuest


class NodeGuests:
    """The guests of the pool by the names that Slurm's nodes may bear."""

    def __init__(self, section: SlurmSection, guests: Mapping[str, PoolGuest]) -> None:
        """`guests` are those that run, by uuid; a name that two of them bear is nobody's."""
        self._section, self._guests = section, guests
        self._by_name: dict[str, str | None] = {}
        for guest in guests.values():
            name = self._key(guest.name)
            self._by_name[name] = None if name in self._by_name else guest.uuid

    def uuid_of(self, node: str) -> str | None:
        """Return the guest (uuid) that a node is, None where no running guest is."""
        named = self._section.nodes.get(node, node)
        return named if named in self._guests else self._by_name.get(self._key(named))

    def _key(self, name: str) -> str:
        return name.partition(".")[0].lower() if self._section.match == "hostname" else name
