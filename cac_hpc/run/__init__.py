"""A run: its settings, its folder, its stages, its log."""
