"""Labels in: which study has which score, by sheets or structured reports, and what a score means."""
