"""Numbers in, page, figures and tables out; a report comes to its place whole."""
