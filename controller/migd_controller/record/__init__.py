"""Records: what a core was told and what it did about it, in files from which every decision can be made again."""
