"""The control loop: telemetry and inventory come in as events, migrations leave as commands."""
