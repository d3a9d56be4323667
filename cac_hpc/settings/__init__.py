"""Settings: sections of frozen dataclasses, how files and options make them, and the options of each command."""
