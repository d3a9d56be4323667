"""Predictions of a run, or of others, in; everything that a report says out."""
