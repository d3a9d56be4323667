"""Masks that other programs drew: each format in, a region at the voxels of a study out."""
