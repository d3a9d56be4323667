"""This machine: processes, signals, memory."""
