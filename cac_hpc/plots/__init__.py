"""Figures as PNG and SVG: numbers and texts in, files out."""
