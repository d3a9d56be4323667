"""The Agatston rule and where it applies."""
