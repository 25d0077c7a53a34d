"""The vocabulary of migd: what every component says to every other one.

Nothing here does I/O except `config` (reads one TOML file) and `logs` (sets structlog up).
"""

__version__ = "0.1.0"
