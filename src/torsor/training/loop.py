"""The training loop.

One step: take the samples of this step, move them by group elements if asked, forward, loss, backward, clip, optimiser. Now and then:
evaluate, keep the best weights, save the whole state. What a step does depends on the seed, its number and the state before it alone.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torsor.dial.augment import Augment
from torsor.errors import NonFiniteError
from torsor.io import append_line, keep_lines, locked, save_tensors
from torsor.tasks.base import Task
from torsor.training.cost import measure_cost
from torsor.training.evaluation import Evaluation, Numerics, evaluate, further_figures, objective, run_network
from torsor.training.finite import first_non_finite
from torsor.training.optimisers import Average, learning_rate, load_optimizer_tensors, make_optimizer, optimizer_tensors
from torsor.training.order import batch_indices, derived_seed, stream
from torsor.training.progress import progress_bar
from torsor.training.result import RunResult
from torsor.training.runs import RunConfig, RunDirectory, build_network, load_network, load_weights, part_of
from torsor.training.settings import TrainConfig
from torsor.training.tracking import Tracker
from torsor.training.workers import Workers


def train(
    task: Task,
    model_config: Any,
    train_config: TrainConfig,
    directory: str | Path,
    *,
    resume: bool = False,
    augment: bool = False,
    quiet: bool = False,
) -> RunResult:
    """Train a model on a task, test it, and leave everything in a run directory.

    Args:
        task: what is learned; `task.loss` must be a mean over the samples of its batch.
        model_config: the model's settings; `model_config.build(task.signature)` makes it.
        train_config: how it is trained.
        directory: the run directory, made here.
        resume: go on where the run in the directory stopped, start it if there is none, return its result if it has finished. The numbers
            are those of a run that never stopped.
        augment: move every sample, in every step, by a random element of the task's group.
        quiet: show no progress bar.

    Raises:
        CheckpointError: the directory holds a run and `resume` is false, it holds another run, or another process is writing there.
        NonFiniteError: a loss, gradient or metric is not finite; names the step and the first such tensor. The last good checkpoint stays.
        SignatureError: the model cannot serve the task.
    """
    workers = Workers(train_config)
    run = RunDirectory(Path(directory))
    config = RunConfig(task.config, model_config, train_config, augment)
    if workers.main:
        run.admit(config, resume)
    workers.wait()
    if run.result.exists():
        return RunResult.read(run.path)
    with locked(run.path) if workers.main else nullcontext(), _own_random_state(workers.device):
        if workers.main:
            run.create(config)
        workers.wait()
        loop = Loop(task, config, run, workers)
        loop.restore()
        loop.fit(quiet)
        return loop.finish()


class Loop:
    """One run: the network, its optimiser and where it stands.

    Args:
        task: what is learned.
        config: the settings of the run.
        run: its directory.
        workers: the processes it runs on.
    """

    def __init__(self, task: Task, config: RunConfig, run: RunDirectory, workers: Workers) -> None:
        self.task, self.config, self.run, self.workers = task, config.train, run, workers
        self.numerics = Numerics(workers.device, self.config.precision)
        self.augment = Augment(task.symmetry) if config.augment else None
        self.network = build_network(task, config).to(workers.device)
        self.optimizer = make_optimizer(self.network, self.config)
        self.average = None if self.config.ema is None else Average(self.network, self.config.ema)
        self.step = 0
        self.best: float | None = None
        self.durations: list[float] = []
        self.seconds_per_step = math.nan
        self.cost = measure_cost(self.network, task, self.numerics.place(self.global_batch(0)), self.numerics)
        if self.config.compile:
            self.network.compile()
        self.shared = workers.share(self.network, unused=bool(self.cost.unused))

    def restore(self) -> None:
        """Go back to the newest checkpoint, and forget what was recorded after it."""
        found = self.run.load_state()
        if found is not None:
            state, metadata = found
            load_network(self.network, part_of(state, "network"), str(self.run.path))
            load_optimizer_tensors(self.optimizer, self.network, part_of(state, "optimizer"))
            if self.average is not None:
                self.average.load(part_of(state, "average"))
            self.step, self.best, self.seconds_per_step = metadata["step"], metadata["best"], metadata["seconds_per_step"]
        if self.workers.main:
            keep_lines(self.run.metrics, lambda record: record["step"] <= self.step)
        self.workers.wait()

    def fit(self, quiet: bool) -> None:
        """Take the steps that are left."""
        name = f"{self.task.name}, {self.cost.parameters:,} parameters"
        quiet = quiet or not self.workers.main
        with ExitStack() as stack:
            tracker = stack.enter_context(Tracker(self.config.tracker if self.workers.main else "none", self.run.path))
            report = stack.enter_context(progress_bar(name, self.step, self.config.steps, self.config.batch_size, quiet))
            self.network.train()
            while self.step < self.config.steps:
                started = time.perf_counter()
                loss, norm = self.update()
                seconds = time.perf_counter() - started
                self.durations.append(seconds)
                report(self.step, loss, seconds)
                if self.config.logs(self.step):
                    rate = learning_rate(self.config, self.step - 1)
                    self.record(tracker, loss=loss, gradient_norm=norm, learning_rate=rate, seconds=seconds)
                if self.config.evaluates(self.step):
                    self.validate(tracker)
                if self.config.checkpoints(self.step):
                    self.save()

    def update(self) -> tuple[float, float]:
        """One optimiser step; gives the loss over the global batch and the norm of its gradient."""
        self.seed_layers()
        batch, weight = self.workers.part(self.global_batch(self.step))
        batch = self.numerics.place(batch)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.step) * group["rate_factor"]
        self.optimizer.zero_grad()
        output = run_network(self.shared, self.task, batch, self.numerics, self.noise_seed())
        loss = weight * objective(self.network, self.task, output, batch)
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip or math.inf)
        # one transfer for both numbers, which a GPU would otherwise wait for twice
        mean_loss, gradient_norm = torch.stack([self.workers.mean(loss.detach()), norm.to(loss.dtype)]).tolist()
        if not (math.isfinite(mean_loss) and math.isfinite(gradient_norm)):
            self.stop(batch)
        self.optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        return mean_loss, gradient_norm

    def global_batch(self, step: int) -> dict[str, Tensor]:
        """The samples of a step, counted from 0, over all processes: the same for every model, so that runs can be compared in pairs."""
        samples = self.task.splits.train
        taken = samples.take(batch_indices(self.config.seed, step, self.config.batch_size, len(samples)))
        batch = self.task.prepare(taken, stream(self.config.seed, "prepare", step))
        return batch if self.augment is None else self.augment(batch, stream(self.config.seed, "augment", step))

    def seed_layers(self) -> None:
        """Give dropout and its like their random numbers of this step."""
        torch.manual_seed(derived_seed(self.config.seed, "layers", self.step, self.workers.rank))

    def noise_seed(self) -> int:
        """Of what a stochastic network draws in this step."""
        return derived_seed(self.config.seed, "noise", self.step, self.workers.rank)

    def stop(self, batch: Mapping[str, Tensor]) -> None:
        """Say which tensor is not finite, and where the last good weights are."""
        self.seed_layers()
        culprit = first_non_finite(self.network, self.task, batch, self.numerics, self.noise_seed())
        saved = self.run.checkpoints()
        kept = f"the last good checkpoint is {saved[-1]}" if saved else "there was no checkpoint yet"
        raise NonFiniteError(f"step {self.step + 1}: {culprit} is not finite; {kept}: lower learning_rate or clip, or look at the data")

    def validate(self, tracker: Tracker) -> None:
        """Evaluate on the validation split and keep the weights if they are the best so far."""
        with self.averaged():
            means = self.evaluate("valid").means
            value = means[self.task.headline]
            if self.best is None or value < self.best:
                self.best = value
                if self.workers.main:
                    save_tensors(self.run.best, self.network.state_dict(), {"step": self.step, "valid": means})
        self.record(tracker, valid=means)

    def evaluate(self, split: str) -> Evaluation:
        """Every process evaluates the whole split: the same numbers everywhere, and no more time than one process would take."""
        samples = getattr(self.task.splits, split)
        try:
            return evaluate(self.network, self.task, samples, self.numerics, self.config.evaluation_batch_size)
        except NonFiniteError as error:
            raise NonFiniteError(f"step {self.step}: {split} {error}") from None

    def averaged(self) -> AbstractContextManager[None]:
        """The network with the weights that are evaluated."""
        return nullcontext() if self.average is None else self.average.applied()

    def save(self) -> None:
        """Write the whole state; the order of the data and all random streams are functions of its step."""
        self.seconds_per_step = statistics.median(self.durations) if self.durations else self.seconds_per_step
        if not self.workers.main:
            return
        state = {f"network/{name}": tensor for name, tensor in self.network.state_dict().items()}
        state |= {f"optimizer/{name}": tensor for name, tensor in optimizer_tensors(self.optimizer, self.network).items()}
        if self.average is not None:
            state |= {f"average/{name}": tensor for name, tensor in self.average.tensors.items()}
        self.run.save_state(self.step, state, {"best": self.best, "seconds_per_step": self.seconds_per_step})

    def record(self, tracker: Tracker, **values: Any) -> None:
        """Append to the run's records and to the tracker."""
        if self.workers.main:
            append_line(self.run.metrics, {"step": self.step, **values})
            tracker.log(values, self.step)

    def finish(self) -> RunResult:
        """Test the chosen weights and write the figures."""
        self.workers.wait()
        step = load_weights(self.network, self.run, self.config.test_on)
        test, valid = self.evaluate("test"), self.evaluate("valid")
        further = further_figures(self.network, self.task, self.numerics, self.config.evaluation_batch_size)
        result = RunResult(
            directory=self.run.path,
            test=test.means | further,
            valid=valid.means,
            headline=self.task.headline,
            best_step=step,
            steps=self.config.steps,
            samples=self.config.steps * self.config.batch_size,
            parameters=self.cost.parameters,
            flops_per_step=self.cost.flops_per_step,
            seconds_per_step=self.seconds_per_step,
        )
        if self.workers.main:
            save_tensors(self.run.test_metrics, test.per_sample, {"step": step})
            result.write()
        self.workers.wait()
        return result


def _own_random_state(device: torch.device) -> AbstractContextManager[None]:
    """Torch's global random numbers, on which dropout draws, are put back as they were after the run."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
