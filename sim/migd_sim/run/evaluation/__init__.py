"""Evaluation: policies over sets of random cases, in virtual time, against never moving and against clairvoyance."""
