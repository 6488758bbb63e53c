"""Gathers with the gradient of dense products: values, gradients and second derivatives against the products themselves."""

import pytest
import torch
from torch import nn

from tests.dial.symmetrize.networks import GRAPH, Graphwise
from torsor.dial.symmetrize.base import Draws, Sampler
from torsor.dial.symmetrize.module import Symmetrized
from torsor.dial.symmetrize.permutations import descending_order, normalised_scores, soft_order
from torsor.dial.symmetrize.straight_through import straight_through
from torsor.groups import S

N = 5


def dense(soft, p):
    """The matrix of p with the gradient of the soft one."""
    return (S().matrix(p) - soft).detach() + soft


def scored(scores, temperature=0.3):
    scores = normalised_scores(scores)
    order = descending_order(scores.detach())
    return order, soft_order(scores, order, temperature)


def derivatives(value, leaves):
    """Gradients of a scalar, and those of their squared norm."""
    first = torch.autograd.grad(value, leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves, retain_graph=True)
    return [*first, *second]


def test_value_gradient_and_second_derivatives_are_those_of_the_dense_product(generator):
    scores = torch.randn(3, N, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, N, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, N, 2, generator=generator, dtype=torch.float64)

    def loss(product):
        p, soft = scored(scores)
        return (product(p, soft).tanh() * weight).sum() + product(p, soft).square().sum()

    ours = loss(lambda p, soft: straight_through(x, soft, p))
    plain = loss(lambda p, soft: dense(soft, p) @ x)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-13)
    for found, expected in zip(derivatives(ours, (x, scores)), derivatives(plain, (x, scores)), strict=True):
        assert expected.abs().max() > 1e-6
        assert (found - expected).abs().max() < 1e-12


class Scored(Sampler):
    """Orders by scores that are parameters, so that their gradient can be read."""

    def __init__(self, scores, relax=True):
        super().__init__(GRAPH)
        self.noise, self.relax = {}, relax
        self.scores = nn.Parameter(scores)

    def draw(self, inputs, samples, source):
        return {}

    def forward(self, inputs, noise, samples):
        p, soft = scored(self.scores)
        return Draws(p, None, (soft,) if self.relax else ())


def graphs(generator, batch=2):
    upper = (torch.rand(batch, N, N, generator=generator) < 0.5).double().triu(1)
    return {"adjacency": upper + upper.mT, "features": torch.randn(batch, N, 2, generator=generator, dtype=torch.float64)}


def reference(network, inputs, matrices):
    """sum_k P f(P^T A P, P^T x) / K with the matrices written out, for outputs of nodes, pairs and graphs."""
    terms = []
    for k in range(matrices.shape[1]):
        p = matrices[:, k]
        y = network(p.mT @ inputs["adjacency"] @ p, p.mT @ inputs["features"])
        terms.append({"node": p @ y["node"], "pair": p @ y["pair"] @ p.mT, "graph": y["graph"]})
    return {name: torch.stack([term[name] for term in terms]).mean(0) for name in terms[0]}


@pytest.mark.parametrize("max_batch", [None, 4])
@pytest.mark.parametrize("relaxation", ["straight-through", "soft"])
def test_outputs_of_nodes_pairs_and_graphs_are_those_of_the_dense_formula(relaxation, max_batch, generator):
    network, inputs = Graphwise(N), graphs(generator)
    inputs["features"].requires_grad_()
    sampler = Scored(torch.randn(2, 3, N, generator=generator, dtype=torch.float64))
    module = Symmetrized(network, sampler, samples=3, relaxation=relaxation, max_batch=max_batch)
    p, soft = scored(sampler.scores)
    found, expected = module(**inputs), reference(network, inputs, dense(soft, p) if relaxation == "straight-through" else soft)
    leaves = [sampler.scores, inputs["features"], *network.parameters()]
    for name, y in expected.items():
        assert (found[name] - y).abs().max() < 1e-12
        pairs = zip(derivatives(found[name].tanh().sum(), leaves), derivatives(y.tanh().sum(), leaves), strict=True)
        for ours, plain in pairs:
            assert (ours - plain).abs().max() < 1e-12
    assert torch.autograd.grad(module(**inputs)["pair"].square().sum(), sampler.scores)[0].abs().max() > 1e-6


def test_without_soft_matrices_the_gather_equals_the_dense_product(generator):
    network, inputs = Graphwise(N), graphs(generator)
    sampler = Scored(torch.randn(2, 3, N, generator=generator, dtype=torch.float64), relax=False)
    found = Symmetrized(network, sampler)(**inputs)
    expected = reference(network, inputs, S().matrix(scored(sampler.scores)[0]))
    for name, y in expected.items():
        assert (found[name] - y).abs().max() < 1e-12
        ours, plain = (torch.autograd.grad(z.square().sum(), list(network.parameters()), retain_graph=True) for z in (found[name], y))
        assert all((a - b).abs().max() < 1e-12 for a, b in zip(ours, plain, strict=True))


def test_the_soft_control_shows_the_network_no_reordering(generator):
    seen = []

    class Watch(nn.Module):
        def forward(self, adjacency, features):
            seen.append(features)
            return {"node": features[..., :1], "pair": adjacency, "graph": features.sum(1)}

    inputs = graphs(generator)
    scores = torch.randn(2, 1, N, generator=generator, dtype=torch.float64)
    for relaxation in ("straight-through", "soft"):
        Symmetrized(Watch(), Scored(scores), relaxation=relaxation)(**inputs)
    hard, soft = (x.sort(1).values for x in seen)
    torch.testing.assert_close(hard, inputs["features"].sort(1).values, rtol=0, atol=0)
    assert (soft - hard).abs().max() > 1e-2


def test_masks_are_moved_by_the_permutation_alone(generator):
    class Masked(nn.Module):
        def forward(self, adjacency, features, mask):
            return {"node": features[..., :1] * mask[..., None], "pair": adjacency, "graph": mask.sum(1, keepdim=True).to(features)}

    inputs = graphs(generator) | {"mask": torch.tensor([[True] * 4 + [False], [True] * N])}
    module = Symmetrized(Masked(), Scored(torch.randn(2, 2, N, generator=generator, dtype=torch.float64)))
    torch.testing.assert_close(module(**inputs)["node"], inputs["features"][..., :1] * inputs["mask"][..., None], rtol=0, atol=1e-12)


def test_half_precision_keeps_its_type_and_its_gradient(generator):
    scores = torch.randn(3, N, generator=generator, requires_grad=True)
    x = torch.randn(3, N, 2, generator=generator).bfloat16().requires_grad_()
    p, soft = scored(scores)
    y = straight_through(x, soft, p)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert scores.grad.isfinite().all()
    assert scores.grad.abs().max() > 0


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # 2026-11: by the tracer of torch 2.13 itself
def test_straight_through_gradients_compile_as_one_graph(generator):
    scores = torch.randn(3, N, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.randn(3, N, 2, generator=generator, dtype=torch.float64)

    def loss(scores):
        p, soft = scored(scores)
        return straight_through(x, soft, p).tanh().sum(0).square().sum()

    plain, traced = (torch.autograd.grad(f(scores), scores)[0] for f in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")))
    torch.testing.assert_close(traced, plain, rtol=0, atol=1e-12)
