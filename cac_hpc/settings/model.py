"""Section model: which kind of network is trained, and its size."""

from __future__ import annotations

from dataclasses import dataclass, field

from cac_hpc.settings.checks import ADDED, require, within


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network is trained, and its size."""

    kind: str = field(default="slices", metadata=ADDED)  # by its name in train/models: slices, lesions or another
    # of the study's network, kind slices, as the three below:
    filters: tuple[int, ...] = (32, 64, 128, 256, 512)  # one convolution + ReLU + 2x2 max-pooling each
    kernel: int = 3  # pixels per side of every convolution; its edges are filled with zeros, the size stays
    dense: int = 512
    dropout: float = 0.3
    hidden: tuple[int, ...] = field(default=(32, 16), metadata=ADDED)  # kind lesions: width of each hidden layer
    members: int = field(
        default=1, metadata=ADDED
    )  # kind lesions: networks with own starts; their answers are averaged

    def __post_init__(self) -> None:
        require(len(self.filters) >= 1 and min(self.filters) >= 1, "model.filters", self.filters, "positive numbers")
        require(self.kernel >= 1 and self.kernel % 2 == 1, "model.kernel", self.kernel, "an odd number, 1 or more")
        require(self.dense >= 1, "model.dense", self.dense, "1 or more")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        require(len(self.hidden) >= 1 and min(self.hidden) >= 1, "model.hidden", self.hidden, "positive numbers")
        within(self, "model.", members=(1, 100))

    @property
    def of_candidates(self) -> bool:
        """Whether it is given candidates of calcium; a study in which no heart is found has none."""
        return self.kind == "lesions"
