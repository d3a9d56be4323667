"""Cross-validated coronary calcium classification from cardiac CT, on any SLURM cluster."""

__version__ = "0.1.0"
