"""Stages as jobs, on SLURM or on this machine; where they stand."""
