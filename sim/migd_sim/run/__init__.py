"""Runs: the controller's own `Core` against the simulated cluster, in virtual time."""
