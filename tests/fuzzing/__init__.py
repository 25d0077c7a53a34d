"""Inputs that nobody meant, for each parser of migd."""
