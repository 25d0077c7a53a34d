"""`migctl top`: the cluster on one screen that keeps itself up to date."""
