"""Synthetic patients as DICOM files."""
