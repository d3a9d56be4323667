"""A run: its folder, its stages, its log."""
