"""The vocabulary of migd: what every component says to every other one.

Nothing here does I/O except `config` (reads one TOML file), `logs` (sets structlog up), `systemd` (talks to it), and
`keys` and `agents_file` (CURVE keys in files).
"""

__version__ = "0.1.0"
