"""Keeps asyncio out of the agent, which has no event loop.

structlog loads it, and with it OpenSSL, for methods that nobody calls here: 7 MB of a Dom0's memory. Imported by
`__main__` before all else, and by nothing that has an event loop.
"""

import sys
from types import ModuleType

sys.modules.setdefault("asyncio", ModuleType("asyncio"))
