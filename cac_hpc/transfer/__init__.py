"""A report's way home: which files go along, one archive of them, from another machine through ssh, opened."""
