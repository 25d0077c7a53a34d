"""One module a command, imported when it runs; `migd_cli.app.COMMANDS` lists them."""
