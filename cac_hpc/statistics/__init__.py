"""Predictions in, the report's numbers out."""
