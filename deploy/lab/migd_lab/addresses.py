"""Who has which address in the lab. The network is a private namespace, so they clash with nothing outside."""

import uuid
from typing import Final

PREFIX: Final = "192.168.77"
CONTROLLER: Final = f"{PREFIX}.254"
MAX_NODES: Final = 9
_LAB: Final = uuid.UUID("6d696764-6c61-6200-8000-000000000000")  # "migdlab"


def node_address(number: int) -> str:
    """Return the address of Dom0 on node `number`, 1 and up."""
    return f"{PREFIX}.{number}"


def guest_address(number: int) -> str:
    """Return the address of guest `number`, 1 to 99."""
    return f"{PREFIX}.{100 + number}"


def node_mac(number: int) -> str:
    return f"52:54:00:77:00:{number:02x}"


def guest_mac(number: int) -> str:
    return f"00:16:3e:77:00:{number:02x}"


def uuid_of(name: str) -> str:
    """Return the uuid of a node or guest; the same in every lab."""
    return str(uuid.uuid5(_LAB, name))
