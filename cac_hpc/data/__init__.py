"""DICOM folders and a sheet in, sealed shards and folds out."""
