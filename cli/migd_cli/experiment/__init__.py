"""`migctl measure migration`: an application with and without a migration, again and again, and what that tells."""
