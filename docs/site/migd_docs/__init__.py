"""The documentation's site: the repository's own pages, and reference pages that are made of the code."""
