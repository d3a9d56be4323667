"""Arrays and dataclasses in, figures with intervals out; nothing here opens a file."""
