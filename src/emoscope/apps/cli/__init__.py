"""The command line: one module a command or group parses; the modules beside this package work."""

from emoscope.apps.cli.app import app, main

__all__ = ["app", "main"]
