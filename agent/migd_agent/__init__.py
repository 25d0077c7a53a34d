"""The Dom0 daemon: measures this host and its guests and publishes one sample a second."""
