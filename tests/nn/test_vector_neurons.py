"""Vector neurons: equivariant to rotations, reflections and permutations; padding; the size of the published network."""

import pytest
import torch

from torsor.groups import O, S
from torsor.nn.vector_neurons import VectorMaxPool, VectorNeurons, VectorNorm, neighbours_of, vector_leaky_relu
from torsor.representations import Pairs, Permuted

LENGTHS = (6, 3, 1)
MASK = torch.arange(6) < torch.tensor(LENGTHS)[:, None]


def network(d=3, **settings):
    torch.manual_seed(2)
    made = VectorNeurons(2, 8, dimension=d, **({"scalars": 1, "edge_features": 2} | settings)).double()
    for p in made.parameters():  # away from the biases of the norms at zero
        p.data.add_(0.1 * torch.randn(p.shape, dtype=torch.float64))
    return made.eval()


def inputs(generator, d=3):
    x, s, e = (torch.randn(3, 6, *shape, generator=generator, dtype=torch.float64) for shape in ((d, 2), (1,), (6, 2)))
    valid = MASK[..., None]
    return {"x": x * valid[..., None], "scalars": s * valid, "edge_features": e * (valid & MASK[:, None])[..., None], "mask": MASK}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("neighbours", [None, 3])
@pytest.mark.parametrize("d", [2, 3, 4])
def test_scores_are_invariant_and_axes_turn(d, neighbours, training, generator):
    made, given = network(d, neighbours=neighbours).train(training), inputs(generator, d)
    h = O(d).sample(3, generator=generator, dtype=torch.float64)
    scores, axes = made(**given)
    moved_scores, moved_axes = made(**given | {"x": h[:, None] @ given["x"]})
    assert (moved_scores - scores).abs().max() < 1e-10
    assert (moved_axes - h @ axes).abs().max() < 1e-10
    assert axes.abs().min() > 1e-4
    assert scores[MASK].abs().min() > 1e-4


@pytest.mark.parametrize("neighbours", [None, 3])
def test_scores_move_with_the_points_and_axes_do_not(neighbours, generator):
    made, given = network(neighbours=neighbours), inputs(generator)
    p = S(6).sample(3, generator=generator, mask=MASK)
    scores, axes = made(**given)
    moved = {name: (Pairs(1, 2) if name == "edge_features" else Permuted(1)).apply(S(6), p, x) for name, x in given.items()}
    moved_scores, moved_axes = made(**moved)
    assert (moved_scores - Permuted(1).apply(S(6), p, scores))[MASK].abs().max() < 1e-11
    assert (moved_axes - axes).abs().max() < 1e-11


@pytest.mark.parametrize("statistics", ["batch", "item", "none"])
@pytest.mark.parametrize("neighbours", [None, 4])
def test_padding_changes_nothing(neighbours, statistics, generator):
    made, given = network(neighbours=neighbours, statistics=statistics), inputs(generator)
    scores, axes = made(**given)
    for i, n in enumerate(LENGTHS):
        alone = made(given["x"][i : i + 1, :n], given["scalars"][i : i + 1, :n], given["edge_features"][i : i + 1, :n, :n])
        assert (scores[i, :n] - alone[0][0]).abs().max() < 1e-11
        assert (axes[i] - alone[1][0]).abs().max() < 1e-11


def test_training_statistics_ignore_padding(generator):
    given = inputs(generator)
    wider = {name: torch.cat((x, torch.zeros_like(x[:, :2])), 1) for name, x in given.items()}
    wider["edge_features"] = torch.cat((wider["edge_features"], torch.zeros_like(wider["edge_features"][:, :, :2])), 2)
    first, second = network().train(), network().train()
    assert (first(**given)[0] - second(**wider)[0][:, :6])[MASK].abs().max() < 1e-11
    for ours, theirs in zip(first.buffers(), second.buffers(), strict=True):
        assert (ours - theirs).abs().max() < 1e-12


def test_all_neighbours_are_all_pairs(generator):
    given = inputs(generator)
    few, every = network(neighbours=6)(**given), network(neighbours=None)(**given)
    assert all(torch.equal(a, b) for a, b in zip(few, every, strict=True))


def test_neighbours_are_the_nearest_valid_points_with_itself(generator):
    x = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    index, valid = neighbours_of(x, 3, MASK)
    expected = torch.cdist(x, x).argsort(-1)[0, :, :3]
    assert torch.equal(index[0].sort(-1).values, expected.sort(-1).values)
    assert valid[1].sum(-1).tolist() == [3, 3, 3, 0, 0, 0]
    assert valid[2].sum(-1).tolist() == [1, 0, 0, 0, 0, 0]
    assert (index[2, 0][valid[2, 0]] == 0).all()


def test_published_network_has_6897_parameters():
    assert sum(p.numel() for p in VectorNeurons(2, 64 // 3).parameters()) == 6897


@pytest.mark.parametrize(("scores", "axes"), [(True, False), (False, True)])
def test_every_parameter_but_those_of_choices_is_trained_with_either_head(scores, axes, generator):
    made, given = network(scores=scores, axes=axes), inputs(generator)
    found = made(**given)
    assert [x is not None for x in found] == [scores, axes]
    next(x for x in found if x is not None).square().sum().backward()
    for name, p in made.named_parameters():
        chosen_by = name.startswith(("pools", "over_points"))
        assert (p.grad is None) if chosen_by else (p.grad is not None and p.grad.abs().max() > 0), name


def test_invariants_of_points_and_pairs_are_seen(generator):
    made, given = network(), inputs(generator)
    for name in ("scalars", "edge_features"):
        changed = made(**given | {name: 2 * given[name]})
        assert all((a - b).abs().max() > 1e-4 for a, b in zip(changed, made(**given), strict=True))


# -- layers ----------------------------------------------------------------------------------------------------------------------------


def test_leaky_relu_keeps_the_near_side_and_shrinks_the_far_one():
    direction = torch.tensor([[0.0], [2.0]])
    near, far = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [-3.0]])
    assert torch.equal(vector_leaky_relu(near, direction), near)
    assert (vector_leaky_relu(far, direction) - torch.tensor([[1.0], [-0.6]])).abs().max() < 1e-5


def test_norm_changes_lengths_alone(generator):
    x = torch.randn(4, 5, 3, 2, generator=generator, dtype=torch.float64)
    normed = VectorNorm(2).double()(x)
    lengths = x.norm(dim=-2)
    expected = torch.nn.BatchNorm1d(2).double()(lengths.flatten(0, 1) + 1e-6).unflatten(0, (4, 5))
    assert (normed - x / lengths.unsqueeze(-2) * expected.unsqueeze(-2)).abs().max() < 1e-4


def test_pool_takes_the_vector_that_reaches_farthest(generator):
    torch.manual_seed(0)
    pool, x = VectorMaxPool(2).double(), torch.randn(1, 5, 3, 2, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, True, False, True, False]])
    pooled = pool(x, mask)
    reach = (x * pool.direction(x)).sum(2).detach()[0]
    for c in range(2):
        farthest = max((0, 1, 3), key=lambda i: reach[i, c])
        assert torch.equal(pooled[0, :, c], x[0, farthest, :, c])
    assert not pool(x, torch.zeros_like(mask)).any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_gradients_are_finite_where_all_vectors_are_zero(dtype):
    made = network().to(dtype)
    x = torch.zeros(1, 6, 3, 2, dtype=dtype, requires_grad=True)
    scores, axes = made(x, torch.ones(1, 6, 1, dtype=dtype), torch.ones(1, 6, 6, 2, dtype=dtype))
    assert scores.isfinite().all()
    (scores.float().sum() + axes.float().sum()).backward()
    if dtype != torch.float16:  # derivatives of directions at zero, 1e6 for each norm, leave its range
        assert x.grad.isfinite().all()
