"""What symmetrisation costs: permutations by gather against dense products, and averages against calls of the network itself.

Two questions. A pair tensor in another order, P^T A P, with and without the gradient of a soft permutation: by gathers and by two matrix
products. And the average of a network over 10 samples against the network itself on a batch of 10 times as many items. Run
`python benchmarks/symmetrize.py`; writes results/symmetrize.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from harness import Contender, Measurement, measure, memory_mb, print_memory, write

GRAPHS, NODES, CHANNELS, SAMPLES = 8, (64, 188), 8, 10
CLOUDS, POINTS, WIDTH, LAYERS = 32, 16, 64, 4


def permuted_pairs(how: str, nodes: int, training: bool) -> Callable[[], object]:
    """One permutation of the nodes of pair tensors; in training with its backward pass, and a gradient for the soft permutation."""
    from torsor.dial.symmetrize.permutations import descending_order, normalised_scores, soft_order
    from torsor.dial.symmetrize.straight_through import Softened
    from torsor.groups import S
    from torsor.representations import Pairs

    generator = torch.Generator().manual_seed(0)
    pairs = torch.randn(GRAPHS, nodes, nodes, CHANNELS, generator=generator).requires_grad_()
    scores = normalised_scores(torch.randn(GRAPHS, nodes, generator=generator))
    order = descending_order(scores)
    soft = soft_order(scores, order, 0.01).requires_grad_()
    inverse = S().inverse(order)

    def dense() -> torch.Tensor:
        matrix = (S().matrix(order, torch.float32) - soft).detach() + soft
        return torch.einsum("bir, bijc, bjs -> brsc", matrix, pairs, matrix)

    def gather() -> torch.Tensor:
        return Softened(Pairs(1, 2), soft.mT).apply(S(), inverse, pairs)

    product = gather if how == "torsor" else dense

    def run() -> None:
        pairs.grad = soft.grad = None
        with torch.set_grad_enabled(training):
            loss = product().square().mean()
        if training:
            loss.backward()

    return run


def transformer() -> nn.Module:
    from torsor.models.transformer import Transformer

    torch.manual_seed(0)
    return Transformer("4x0e", "1x1o", width=WIDTH, heads=4, layers=LAYERS).eval()


def evaluated(how: str, group: str) -> Callable[[], object]:
    """The average over 10 samples, or the network alone on as many items."""
    from torsor import groups, symmetrize
    from torsor.signatures import PointClouds

    network, signature = transformer(), PointClouds("4x0e", "1x1o")
    inputs = signature.example(CLOUDS, POINTS)
    if how == "torsor":
        module = symmetrize(network, signature.symmetry(groups.parse(group)), "average", samples=SAMPLES).eval()
        noise = module.draw(inputs, torch.Generator().manual_seed(1))
        call = partial(module, **inputs, **noise)
    else:
        call = partial(network, **{name: x.repeat_interleave(SAMPLES, 0) for name, x in inputs.items()})

    def run() -> None:
        with torch.no_grad():
            call()

    return run


SETTINGS: dict[str, tuple[Callable[[str], Callable[[], object]], str, str]] = {
    **{
        f"pairs, n = {n}, {note}": (partial(permuted_pairs, nodes=n, training=note != "evaluation"), "dense products", note)
        for n in NODES
        for note in ("evaluation", "forward and backward")
    },
    **{
        f"{SAMPLES} samples, {group}": (partial(evaluated, group=group), f"{SAMPLES} calls of the network", "evaluation")
        for group in ("SE(3)", "SE(3) x S()")
    },
}
"""What is timed: how to build it, what it is held against, and a note."""


def main() -> None:
    if "--memory" in sys.argv:
        name, setting = sys.argv[-2:]
        print_memory("torsor.dial.symmetrize.verb", partial(SETTINGS[setting][0], name))
        return
    rows: list[Measurement] = []
    for setting, (build, other, note) in SETTINGS.items():
        contenders = [Contender(name, partial(build, name), note=note) for name in ("torsor", other)]
        memory = partial(lambda setting, name: memory_mb(Path(__file__), name, setting), setting)
        rows += measure(setting, contenders, rounds=31, memory=memory)
    text = "The network of the averages is a plain transformer, which respects the order of points by itself."
    write("symmetrize", "Symmetrisation", rows, "torsor", text)


if __name__ == "__main__":
    main()
