"""Which digit is it? Pictures of 8 x 8 pixels on a torus, where a digit may stand anywhere.

After Huang, Cheng, Chen, Aspuru-Guzik: Symmetry From Scratch (2024): shifts of the picture leave the digit alone, unless its place changes
the label.

Axes: b batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from torsor.data.archives import require_folder
from torsor.data.digits import SIZE, draw_digits, read_digits
from torsor.data.samples import Samples, Splits
from torsor.errors import ConfigError
from torsor.groups import C
from torsor.representations import Commuting, Regular, Trivial
from torsor.signatures import FeatureVectors
from torsor.tasks.base import with_targets
from torsor.tasks.breaking import SPLITS, BreakingConfig, BreakingTask

CLASSES = 10


@dataclass(frozen=True)
class DigitsConfig(BreakingConfig):
    """Which digits, how many, and how strongly their place matters.

    Args:
        train_size: training digits; a smaller set is a prefix of a larger one.
        valid_size: validation digits.
        test_size: test digits.
        strength: the e of 1 - exp(-e), the probability that a digit which stands in the right half is labelled as the next one (9 as 0).
        seed: of all samples; for handwritten digits of the split and their places.
        source: "drawn", glyphs distorted at random, or "handwritten", the 1,797 of the UCI repository, read from `folder`.
        folder: folder of data sets for "handwritten"; the variable TORSOR_DATA if not given.
    """

    source: Literal["drawn", "handwritten"] = "drawn"
    folder: str | None = None

    def build(self) -> DigitsTask:
        """Make the task."""
        return DigitsTask(self)


class DigitsTask(BreakingTask):
    """Name the digit in a picture that is shifted by a random number of rows and columns, around the edges.

    Fed: the 64 pixels, row by row. Returned: ten logits, of the digits in turn. Shifts of rows and of columns, C(8) x C(8), move the pixels
    and leave the label alone. Loss: cross-entropy. Metrics: error, the share of wrong names, and the cross-entropy.

    Args:
        config: which digits.
    """

    name = "digits"
    headline = "error"
    config: DigitsConfig

    def __init__(self, config: DigitsConfig) -> None:
        super().__init__(config)
        shifted = Commuting(Regular() @ Trivial(SIZE), Trivial(SIZE) @ Regular())
        self.signature = FeatureVectors(C(SIZE) * C(SIZE), shifted, Trivial(CLASSES))
        symmetry = with_targets(self.signature.symmetry(), {"label": (Trivial(), Trivial())})
        self.symmetry = replace(symmetry, exactness="approximate" if self.broken else "exact")
        self.units = self.with_moved({"error": "share", "cross-entropy": "nats"})
        drawn = "drawn glyphs: figures are not comparable with those of handwritten digits"
        self.notes = (drawn,) if config.source == "drawn" else ()

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Drawn digits at random places."""
        return self._placed(*draw_digits(count, generator), generator)

    def _placed(self, pictures: Float[Tensor, "b 8 8"], digits: Int64[Tensor, " b"], generator: torch.Generator) -> dict[str, Tensor]:
        """The pictures, each shifted to a place of its own, and their labels."""
        count = len(pictures)
        down, right = torch.randint(SIZE, (2, count), generator=generator)
        places = torch.arange(SIZE)
        rows, columns = (places - down[:, None]) % SIZE, (places - right[:, None]) % SIZE
        shifted = pictures[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None]]
        renamed = torch.rand(count, generator=generator, dtype=torch.float64) < 1 - math.exp(-self.config.strength)
        label = torch.where(renamed & (right >= SIZE // 2), (digits + 1) % CLASSES, digits)
        return {"x": shifted.flatten(1), "label": label}

    @cached_property
    def splits(self) -> Splits:
        """Train, validation and test digits in float32.

        Raises:
            ConfigError: more handwritten digits are asked for than there are.
            DataError: the file of handwritten digits is missing or damaged.
        """
        if self.config.source == "drawn":
            return super().splits
        pictures, digits = read_digits(require_folder(self.config.folder, "the handwritten digits"))
        generator = torch.Generator().manual_seed(self.config.seed)
        sizes = [getattr(self.config, f"{split}_size") for split in SPLITS]
        if sum(sizes) > len(digits):
            raise ConfigError(f"train, valid and test sizes {sizes} are more than the {len(digits)} digits there are: give fewer")
        order = torch.randperm(len(digits), generator=generator)
        samples = Samples(self._placed(pictures[order], digits[order], generator)).to(torch.float32)
        # test and validation digits come first, so that they stay the same for every size of the training set
        train, valid, test = sizes
        starts = {"test": 0, "valid": test, "train": test + valid}
        counts = {"test": test, "valid": valid, "train": train}
        return Splits(**{split: Samples(samples.take(slice(start, start + counts[split]))) for split, start in starts.items()})

    def loss(self, output: Float[Tensor, "b 10"], batch: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Mean cross-entropy."""
        return cross_entropy(output, batch["label"])

    def metrics(self, output: Float[Tensor, "b 10"], batch: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "b"]]:
        """Whether the name is wrong, and the cross-entropy."""
        wrong = (output.argmax(-1) != batch["label"]).to(output.dtype)
        return {"error": wrong, "cross-entropy": cross_entropy(output, batch["label"], reduction="none")}

    def baselines(self) -> dict[str, dict[str, float]]:
        """What can be had without a network.

        The frequencies of the training labels; the nearest mean picture of a label; the nearest mean of the absolute Fourier coefficients,
        which shifts leave alone.
        """
        train = self.splits.train.to(torch.float64).take(slice(None))
        shares = (one_hot(train["label"], CLASSES).double().mean(0) + 1e-9).log()

        def frequencies(batch: Mapping[str, Tensor]) -> Float[Tensor, "b 10"]:
            return shares.expand(len(batch["x"]), -1)

        pictures, spectra = _nearest(train, lambda x: x), _nearest(train, _spectrum)
        return self.figures({"label frequencies": frequencies, "nearest mean picture": pictures, "nearest mean spectrum": spectra})


def _spectrum(x: Float[Tensor, "b 64"]) -> Float[Tensor, "b 64"]:
    """The absolute Fourier coefficients of the pictures."""
    coefficients: Tensor = torch.fft.fft2(torch.unflatten(x, -1, (SIZE, SIZE))).abs()
    return coefficients.flatten(1)


def _nearest(train: Mapping[str, Tensor], features: Callable[[Tensor], Tensor]) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """Logits from the distances to the mean features of each label, a normal distribution of one common variance about each."""
    known = features(train["x"])
    member = one_hot(train["label"], CLASSES).double()
    means = member.T @ known / member.sum(0).clamp(min=1).unsqueeze(-1)
    variance = (known - means[train["label"]]).square().mean()

    def logits(batch: Mapping[str, Tensor]) -> Float[Tensor, "b 10"]:
        return -(torch.cdist(features(batch["x"]), means) ** 2) / (2 * variance)

    return logits
