"""The processes and the device of a run: one process, or many that share every batch.

Processes are started by `accelerate launch` or `torchrun`; a run that was not started so is one process. Each process takes its part of the
same global batch, so that a run with two processes gives the numbers of a run with one, up to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from torsor.errors import ConfigError, missing_dependency
from torsor.training.settings import TrainConfig


class Workers:
    """The processes of a run, seen from one of them.

    Args:
        config: for the device and the batch size.

    Attributes:
        device: where this process computes.
        rank: which process this is.
        count: how many there are.

    Raises:
        ConfigError: there is no GPU where one is asked for, or there are more processes than samples in a batch.
    """

    def __init__(self, config: TrainConfig) -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise missing_dependency("accelerate", "train", "training") from error
        wanted = config.device if config.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        if wanted == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device is 'cuda' and this machine has none that torch can use: give device 'cpu' or 'auto'")
        # Precision is set in the loop: accelerate would fix it for the whole process, and a study trains many models in one.
        self._accelerator = Accelerator(mixed_precision="no", cpu=wanted == "cpu", device_placement=False)
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes
        self.device = self._accelerator.device if self.count > 1 else torch.device(wanted)
        if self.count > config.batch_size:
            raise ConfigError(f"{self.count} processes share a batch of {config.batch_size}: give batch_size {self.count} or more")

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return bool(self.rank == 0)

    def wait(self) -> None:
        """Return when all processes are here."""
        self._accelerator.wait_for_everyone()

    def share(self, network: nn.Module, unused: bool) -> nn.Module:
        """The network with gradients averaged over the processes; the network itself where there is one process.

        Args:
            network: on this process's device.
            unused: whether some parameters get no gradient, which costs a search in every step.
        """
        if self.count == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices, find_unused_parameters=unused)

    def part(self, batch: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], float]:
        """This process's part of a global batch, and the weight that makes the mean over the processes the mean over the samples."""
        size = len(next(iter(batch.values())))
        mine = torch.arange(size).tensor_split(self.count)[self.rank]
        return {name: tensor[mine] for name, tensor in batch.items()}, len(mine) * self.count / size

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a number over the processes."""
        return value if self.count == 1 else self._accelerator.reduce(value, reduction="mean")
