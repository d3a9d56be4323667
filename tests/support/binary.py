"""Forty probabilities of an event and whether it happened, of which other programs were asked, too."""

import numpy as np

CHANCE = np.array(
    [0.14, 0.75, 0.17, 0.58, 0.68, 0.26, 0.96, 0.51, 0.34, 0.68, 0.41, 0.42, 0.02, 0.36, 0.95, 0.6, 0.63, 0.6, 0.18,
     0.38, 0.71, 0.49, 0.62, 0.31, 0.27, 0.83, 0.31, 0.56, 0.9, 0.03, 0.68, 0.87, 0.29, 0.48, 0.09, 0.66, 0.89, 0.47,
     0.17, 0.51]
)  # fmt: skip
EVENT = np.array(
    [0, 1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1,
     1, 0]
).astype(bool)  # fmt: skip
