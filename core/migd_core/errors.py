"""The few exception types of migd. Each is raised where a foreign error is translated, with the mend in its text."""


class MigdError(Exception):
    """Something an operator can act on; its text names the thing, what was expected, what was found, the next step."""


class ConfigError(MigdError):
    """A configuration file is missing, is not TOML, or has a key or value that migd does not take."""


class FrameError(MigdError):
    """A message from the wire is not one that this version of migd can use; it was dropped and counted."""


class UnknownName(MigdError):
    """A host, guest, job, policy or decision was named that migd does not know."""


class Refused(MigdError):
    """A request was understood and turned down; the text says which rule held and what would lift it."""
