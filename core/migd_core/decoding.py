"""What goes wrong when somebody else's bytes are decoded."""

from typing import Final

import msgspec

# Of text that is no UTF-8 and of what is nested too deep msgspec says so in Python's own words.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
