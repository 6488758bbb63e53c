"""How a model is trained: every setting of the loop, with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torsor.config import Settings
from torsor.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Settings of a training run.

    Args:
        steps: optimiser steps; the schedule ends exactly here.
        batch_size: samples in a step, over all processes together.
        learning_rate: the highest learning rate, reached at the end of the warm-up.
        weight_decay: decoupled decay of weight matrices; biases, norms and other vectors are left alone.
        schedule: what follows the warm-up. "cosine" falls along half a cosine, "constant" stays, "warmup-stable-decay" stays and falls
            linearly over the last `decay_fraction`.
        warmup_fraction: share of the steps over which the learning rate rises linearly from zero.
        decay_fraction: share of the steps over which "warmup-stable-decay" falls.
        final_fraction: learning rate at the last step as a share of the highest.
        clip: largest norm of the gradient over all parameters; longer ones are scaled down. None for no bound.
        optimizer: "adamw", or "sgd" with momentum 0.9.
        precision: "float32"; "float64"; "bf16" runs the forward pass under bfloat16 autocast, with weights and loss in float32.
        seed: of initialisation, data order, augmentation and stochastic layers, each with a stream of its own.
        log_every: steps between records of the training loss; None for a hundredth of the steps.
        evaluate_every: steps between evaluations on the validation split; None for a tenth of the steps. The last step is always evaluated.
        checkpoint_every: steps between checkpoints; None for every evaluation. The last step always has one.
        evaluation_batch_size: samples that are evaluated at once.
        ema: decay of the exponential moving average of the weights, say 0.999; the average is what is evaluated. None for no average.
        test_on: weights that the test split is evaluated with: "best" on the validation split, or "last".
        device: "auto" is the GPU where there is one.
        compile: whether torch.compile traces the model; slow to start, then faster.
        tracker: "tensorboard" writes event files into the run directory, besides `metrics.jsonl`.

    Raises:
        ConfigError: a value has the wrong type or a number is out of its range; names it.
    """

    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant", "warmup-stable-decay"] = "cosine"
    warmup_fraction: float = 0.02
    decay_fraction: float = 0.2
    final_fraction: float = 0.01
    clip: float | None = 1.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    precision: Literal["float32", "float64", "bf16"] = "float32"
    seed: int = 0
    log_every: int | None = None
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    evaluation_batch_size: int = 128
    ema: float | None = None
    test_on: Literal["best", "last"] = "best"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: bool = False
    tracker: Literal["none", "tensorboard"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "batch_size", "evaluation_batch_size", "log_every", "evaluate_every", "checkpoint_every"):
            self._require(name, at_least=1)
        for name in ("warmup_fraction", "decay_fraction", "final_fraction", "ema"):
            self._require(name, at_least=0, at_most=1.0)
        for name in ("learning_rate", "weight_decay", "seed"):
            self._require(name, at_least=0)
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"clip is {self.clip}: give a positive norm, or None for no bound")

    def _require(self, name: str, at_least: int, at_most: float = float("inf")) -> None:
        value = getattr(self, name)
        if value is not None and not at_least <= value <= at_most:
            bounds = f"{at_least} or more" if at_most == float("inf") else f"a number from {at_least} to {at_most:g}"
            raise ConfigError(f"{name} is {value}: give {bounds}")

    def logs(self, step: int) -> bool:
        """Whether the training loss is recorded after this step."""
        return step == 1 or self._due(step, self.log_every or max(1, self.steps // 100))

    def evaluates(self, step: int) -> bool:
        """Whether the validation split is evaluated after this step."""
        return self._due(step, self.evaluate_every or max(1, self.steps // 10))

    def checkpoints(self, step: int) -> bool:
        """Whether the state is saved after this step."""
        return self._due(step, self.checkpoint_every) if self.checkpoint_every else self.evaluates(step)

    def _due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.steps
