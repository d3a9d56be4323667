"""Numbers in, page, figures and tables out; a report's way home."""
