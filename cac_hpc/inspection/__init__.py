"""A folder that nobody knows: what lies there, which series and labels fit, and settings to start from."""
