"""The tests that every model inherits: ours, and yours.

    class TestMyModel(ModelSuite):
        parameters = 1234

        def make(self, dtype):
            return MyModel("4x0e", "1x1o").to(dtype)

        def inputs(self, dtype, lengths):
            return PointClouds("4x0e", "1x1o").example(len(lengths), max(lengths), dtype=dtype, lengths=lengths)

Needs pytest: pip install 'torsor[test]'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from torsor.check import assert_equivariant, contract_of, equivariance_error
from torsor.check.calls import Module
from torsor.errors import missing_dependency
from torsor.symmetry import Actions, Symmetry, permuted_axes

try:
    import pytest
except ImportError as error:
    raise missing_dependency("pytest", "test", "torsor.testing") from error

LENGTHS = (5, 3, 4)
"""Items of the clouds in a batch: the largest fills its places, the others are padded."""
BOTH_DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
DEGENERATE = ("one point", "coincident", "collinear", "nothing valid")


class ModelSuite:
    """What a model has to prove: its contract, and that it is a well-behaved module.

    Inherit from it in a class whose name starts with `Test`, and write `make` and `inputs`. The module carries its contract as `symmetry`.

    Args:
        parameters: how many parameters the model has, pinned so that no change of architecture goes unnoticed; None is no test.
        tolerance: largest relative error by type; write the reason where you loosen it.
        broken: relative error that a contract beyond the promise has to exceed.
        samples: elements of each kind on which the contract is tried.
        positions: name of the input that degenerate clouds are made of, "" where there is none.
        masked: whether the model takes a mask; if not, `inputs` may ignore all but the number of lengths.
        backend: what torch.compile gives the traced graph to. "aot_eager" traces the backward pass too; "eager" finds every graph break,
            and is many times faster for networks of thousands of operations.
    """

    parameters: int | None = None
    tolerance: ClassVar[Mapping[torch.dtype, float]] = {torch.float64: 1e-10, torch.float32: 1e-5}
    broken: float = 1e-3
    samples: int = 2
    positions: str = "positions"
    masked: bool = True
    backend: str = "aot_eager"

    # -- what a model says of itself --------------------------------------------------------------------------------------------------

    def make(self, dtype: torch.dtype) -> nn.Module:
        """A new module; its weights come from the global generator, which the suite seeds."""
        raise NotImplementedError("write make(self, dtype): the module to test")

    def inputs(self, dtype: torch.dtype, lengths: Sequence[int]) -> dict[str, Tensor]:
        """Random inputs by name, always the same: one item for each length, padded to the largest and masked."""
        raise NotImplementedError("write inputs(self, dtype, lengths): the arguments of forward by name")

    def beyond(self, module: nn.Module) -> Symmetry | None:  # noqa: ARG002
        """A contract that the model must NOT fulfil, so that the suite is seen to notice; None is no test."""
        return None

    def padded(self, module: nn.Module) -> Symmetry:
        """A contract whose permutations say which axes are padded; the model's own, unless that knows no permutations."""
        return contract_of(module)

    def degenerate(self, kind: str, dtype: torch.dtype) -> dict[str, Tensor]:
        """Inputs at which careless code divides by zero."""
        inputs = self.inputs(dtype, {"one point": (1, 1), "nothing valid": (0, 3)}.get(kind, LENGTHS))
        x = inputs[self.positions]
        if kind == "coincident":
            inputs[self.positions] = torch.ones_like(x)
        if kind == "collinear":  # along y, the pole of the harmonics
            inputs[self.positions] = x * torch.eye(x.shape[-1], dtype=dtype, device=x.device)[1]
        return inputs

    # -- help -------------------------------------------------------------------------------------------------------------------------

    def _module(self, dtype: torch.dtype, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make(dtype).eval()

    def _all_inputs(self, dtype: torch.dtype) -> dict[str, Tensor]:
        return self.inputs(dtype, LENGTHS)

    def _require_contract(self, module: Module, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        """Hold the module to its contract; one that promises nothing has to be seen to fail it.

        One that is relaxed has to be seen to use its freedom, and is held to the contract of its strict branch.
        """
        contract = contract_of(module)
        if contract.exactness == "none":
            self._require_broken(module, inputs, contract)
        elif contract.exactness == "approximate":
            self._require_broken(module, inputs, contract)
            if hasattr(module, "strict"):
                with module.strict():
                    assert_equivariant(module, inputs, self.tolerance[dtype], samples=self.samples)
        else:
            assert_equivariant(module, inputs, self.tolerance[dtype], samples=self.samples)

    def _require_broken(self, module: Module, inputs: Mapping[str, Tensor], contract: Symmetry) -> None:
        report = equivariance_error(module, inputs, contract, self.samples)
        assert report.max_relative > self.broken, f"this contract is broken, yet the error is small\n\n{report}"

    # -- the contract -----------------------------------------------------------------------------------------------------------------

    @BOTH_DTYPES
    def test_contract_holds_at_initialisation(self, dtype: torch.dtype) -> None:
        """The error is rounding, for every kind of element, in both types."""
        self._require_contract(self._module(dtype), self._all_inputs(dtype), dtype)

    @BOTH_DTYPES
    def test_contract_holds_after_ten_optimiser_steps(self, dtype: torch.dtype) -> None:
        """Symmetry that holds only for fresh weights, or before statistics have run, is none."""
        module, inputs = self._module(dtype), self._all_inputs(dtype)
        before = {name: p.detach().clone() for name, p in module.named_parameters()}
        optimise(module, inputs, steps=10)
        assert any(not torch.equal(before[name], p) for name, p in module.named_parameters()), "training changed no parameter"
        self._require_contract(module, inputs, dtype)

    def test_a_contract_beyond_the_promise_fails(self) -> None:
        """The negative control: a model without a symmetry is seen not to have it."""
        module = self._module(torch.float64)
        contract = self.beyond(module)
        if contract is None:
            pytest.skip("the suite names no contract beyond the promise")
        self._require_broken(module, self._all_inputs(torch.float64), contract)

    def test_the_output_depends_on_every_input(self) -> None:
        """A constant fulfils every contract with an invariant output."""
        module, inputs = self._module(torch.float64), self._all_inputs(torch.float64)
        leaves = {name: x.clone().requires_grad_() for name, x in inputs.items() if x.is_floating_point()}
        assert leaves, "no input has numbers to differentiate by"
        for name, gradient in gradients(total(module, {**inputs, **leaves}), leaves).items():
            assert gradient.abs().max() > 0, f"the output does not depend on {name}"

    # -- batches and padding ----------------------------------------------------------------------------------------------------------

    def test_an_item_of_a_batch_equals_the_item_alone(self) -> None:
        """Items do not see each other."""
        module, inputs = self._module(torch.float64), self._all_inputs(torch.float64)
        batch = outputs(module, inputs)
        for i in range(len(LENGTHS)):
            alone = outputs(module, {name: x[i : i + 1] for name, x in inputs.items()})
            require_close(alone, {name: y[i : i + 1] for name, y in batch.items()}, 1e-12)

    def test_padding_changes_nothing(self) -> None:
        """A padded cloud has the output of the same cloud unpadded."""
        if not self.masked:
            pytest.skip("the model takes no mask")
        module, inputs = self._module(torch.float64), self._all_inputs(torch.float64)
        contract = self.padded(module)
        padded = outputs(module, inputs)
        for i, length in enumerate(LENGTHS):
            item = {name: x[i : i + 1] for name, x in inputs.items() if name != contract.mask}
            alone = outputs(module, {name: shortened(contract.inputs.get(name), x, length) for name, x in item.items()})
            named = contract.output if isinstance(contract.output, Mapping) else {"output": contract.output}
            require_close(alone, {name: shortened(named[name], y[i : i + 1], length) for name, y in padded.items()}, 1e-11)

    # -- derivatives ------------------------------------------------------------------------------------------------------------------

    @BOTH_DTYPES
    @pytest.mark.parametrize("kind", DEGENERATE)
    def test_gradients_are_finite_on_degenerate_input(self, kind: str, dtype: torch.dtype) -> None:
        """Norms, directions and softmaxes have derivatives where they are singular."""
        if not self.positions or (kind == "nothing valid" and not self.masked):
            pytest.skip("the model has no such input")
        module, inputs = self._module(dtype), self.degenerate(kind, dtype)
        leaves = {name: x.clone().requires_grad_() for name, x in inputs.items() if x.is_floating_point()}
        loss = total(module, {**inputs, **leaves})
        assert loss.isfinite(), "the output is not finite"
        for name, gradient in gradients(loss, leaves | dict(module.named_parameters())).items():
            assert gradient.isfinite().all(), f"the gradient of {name} is not finite"

    def test_derivatives_of_gradients_are_those_of_finite_differences(self) -> None:
        """Double backward: how the squared gradient by the inputs changes with the parameters, as training on forces needs it."""
        module, inputs = self._module(torch.float64), self._all_inputs(torch.float64)
        parameters = dict(module.named_parameters())
        analytic = gradients(squared_gradient(module, inputs), parameters)
        generator = torch.Generator().manual_seed(1)
        direction = {name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in parameters.items()}
        expected = sum(float((analytic[name] * d).sum()) for name, d in direction.items())
        step, sides = 1e-5, []
        for shift in (step, -2 * step):
            with torch.no_grad():
                for name, p in parameters.items():
                    p.add_(direction[name], alpha=shift)
            sides.append(squared_gradient(module, inputs).item())
        found = (sides[0] - sides[1]) / (2 * step)
        assert abs(found - expected) <= 1e-4 * abs(expected) + 1e-9 * abs(sides[0]), f"double backward {expected}, differences {found}"

    def test_gradients_are_those_of_finite_differences_and_of_forward_mode(self) -> None:
        """No derivative is cut, and Jacobian-vector products agree with the gradient."""
        module, inputs = self._module(torch.float64), self._all_inputs(torch.float64)
        leaves = {name: x.clone().requires_grad_() for name, x in inputs.items() if x.is_floating_point()}
        generator = torch.Generator().manual_seed(2)
        tangents = {name: torch.randn(x.shape, generator=generator, dtype=x.dtype) for name, x in leaves.items()}
        found = gradients(total(module, {**inputs, **leaves}), leaves)
        reverse = sum(float((gradient * tangents[name]).sum()) for name, gradient in found.items())
        moved = [{name: inputs[name] + step * tangent for name, tangent in tangents.items()} for step in (1e-5, -1e-5)]
        with torch.no_grad():
            ahead, behind = (total(module, {**inputs, **x}).item() for x in moved)
        difference = (ahead - behind) / 2e-5
        assert abs(difference - reverse) <= 1e-5 * abs(reverse), f"finite differences {difference}, gradient {reverse}"
        detached = {name: x.detach() for name, x in leaves.items()}
        forward = torch.func.jvp(lambda moving: total(module, {**inputs, **moving}), (detached,), (tangents,))[1].item()
        assert abs(forward - reverse) <= 1e-9 * abs(reverse), f"forward mode {forward}, reverse mode {reverse}"

    # -- the module as a module ---------------------------------------------------------------------------------------------------------

    def test_parameters_are_as_many_as_pinned(self) -> None:
        """No change of architecture goes unnoticed."""
        if self.parameters is None:
            pytest.skip("the suite pins no number of parameters")
        found = sum(p.numel() for p in self._module(torch.float32).parameters())
        assert found == self.parameters, f"the model has {found} parameters, pinned are {self.parameters}"

    def test_evaluation_repeats_bit_by_bit(self) -> None:
        """The same input twice has the same output."""
        module, inputs = self._module(torch.float32), self._all_inputs(torch.float32)
        require_equal(outputs(module, inputs), outputs(module, inputs))

    def test_outputs_have_the_type_of_the_inputs(self) -> None:
        """Nothing is silently promoted or rounded."""
        for dtype in (torch.float64, torch.float32):
            found = outputs(self._module(dtype), self._all_inputs(dtype))
            types = {y.dtype for y in found.values() if y.is_floating_point()}
            assert types <= {dtype}, f"inputs are {dtype}, outputs {types}"

    def test_saved_weights_give_the_same_bits(self) -> None:
        """What the outputs depend on is in the state dict."""
        inputs = self._all_inputs(torch.float32)
        first, second = self._module(torch.float32, seed=0), self._module(torch.float32, seed=1)
        with torch.no_grad():
            for p in first.parameters():  # also those that start at a constant
                p.add_(torch.linspace(0, 0.01, p.numel()).reshape(p.shape))
        second.load_state_dict(load(save({name: x.contiguous() for name, x in first.state_dict().items()})))
        require_equal(outputs(first, inputs), outputs(second, inputs))

    def test_a_deep_copy_is_equal_and_apart(self) -> None:
        """Copies share no weights."""
        module, inputs = self._module(torch.float32), self._all_inputs(torch.float32)
        before = outputs(module, inputs)
        twin = deepcopy(module)
        require_equal(outputs(twin, inputs), before)
        with torch.no_grad():
            for p in twin.parameters():
                p.zero_()
        require_equal(outputs(module, inputs), before)

    def test_vmap_equals_a_loop(self) -> None:
        """The forward has no branch on the values of its inputs."""
        module, inputs = self._module(torch.float64), self._all_inputs(torch.float64)
        stacked = {name: torch.stack((x, x.roll(1, 0))) for name, x in inputs.items()}
        mapped = torch.func.vmap(lambda x: outputs(module, x), randomness="error")(stacked)
        for i in range(2):
            require_close({name: y[i] for name, y in mapped.items()}, outputs(module, {name: x[i] for name, x in stacked.items()}), 1e-12)

    def test_bfloat16_autocast_is_roughly_right(self) -> None:
        """Half precision costs digits and nothing else."""
        module, inputs = self._module(torch.float32), self._all_inputs(torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            found = outputs(module, inputs)
        types = {y.dtype for y in found.values() if y.is_floating_point()}
        assert types <= {torch.float32, torch.bfloat16}, f"under autocast the outputs are {types}"
        require_close({name: y.float() for name, y in found.items()}, outputs(module, inputs), 0.1)

    # -- compilers ----------------------------------------------------------------------------------------------------------------------

    @pytest.mark.compile
    def test_compiles_as_one_graph_and_keeps_its_contract(self) -> None:
        """No graph break; outputs, gradients and symmetry survive."""
        module, inputs = self._module(torch.float64), self._all_inputs(torch.float64)
        torch.compiler.reset()
        compiled = AsInTraining(torch.compile(module, fullgraph=True, backend=self.backend, dynamic=False))
        require_close(outputs(compiled, inputs), outputs(module, inputs), 1e-12)
        parameters = dict(module.named_parameters())
        # all in one, since a gradient that cancels (a bias before a softmax) is nothing but rounding
        traced, plain = (torch.cat([g.flatten() for g in gradients(total(m, inputs), parameters).values()]) for m in (compiled, module))
        require_close({"the gradient": traced}, {"the gradient": plain}, 1e-10)
        self._require_contract(compiled, inputs, torch.float64)

    @pytest.mark.compile
    def test_exports(self) -> None:
        """The exported program computes the same."""
        module, inputs = self._module(torch.float64), self._all_inputs(torch.float64)
        exported = torch.export.export(module, (), dict(inputs)).module()
        expected = outputs(module, inputs)
        with torch.no_grad():
            found = contract_of(module).named_outputs(exported(**inputs))
        require_close(found, expected, 1e-12)


class AsInTraining(nn.Module):
    """A compiled module that runs with gradients on, whatever the mode outside: one trace serves training and measurement.

    Args:
        compiled: what torch.compile returned.
    """

    def __init__(self, compiled: Any) -> None:
        super().__init__()
        self.compiled, self.symmetry = compiled, contract_of(compiled)
        if hasattr(compiled, "draw"):
            self.draw = compiled.draw

    def forward(self, **inputs: Any) -> Any:
        """The outputs, cut off from the graph where nobody asks for gradients."""
        with torch.enable_grad():
            found = self.compiled(**inputs)
        if torch.is_grad_enabled():
            return found
        if isinstance(found, Tensor):
            return found.detach()
        return {name: y.detach() for name, y in found.items()} if isinstance(found, Mapping) else tuple(y.detach() for y in found)


def outputs(module: Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs by name, without gradients."""
    with torch.no_grad():
        return contract_of(module).named_outputs(module(**inputs))


def total(module: Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """A scalar that depends on every entry of every output with a weight of its own."""
    found = contract_of(module).named_outputs(module(**inputs))
    terms = [(y * torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype, device=y.device).view_as(y)).sum() for y in found.values()]
    return torch.stack(terms).sum()


def optimise(module: nn.Module, inputs: Mapping[str, Tensor], steps: int, rate: float = 1e-3) -> None:
    """Train the module for some steps of Adam towards random targets, in train mode, and set it back to eval mode."""
    module.train()
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(0)
    targets = {name: torch.randn(y.shape, generator=generator, dtype=y.dtype).to(y.device) for name, y in outputs(module, inputs).items()}
    for _ in range(steps):
        optimiser.zero_grad()
        found = contract_of(module).named_outputs(module(**inputs))
        loss = torch.stack([(y - targets[name]).square().mean() for name, y in found.items()]).sum()
        torch.autograd.backward(loss)
        optimiser.step()
    module.eval()


def shortened(actions: Actions | None, x: Tensor, length: int) -> Tensor:
    """The first `length` places of every axis that the actions permute."""
    for action in actions if isinstance(actions, tuple) else (actions,):
        for axis in () if action is None else permuted_axes(action):
            x = x.narrow(axis, 0, length)
    return x


def require_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> None:
    """Equal up to a relative error in the norm, output by output."""
    assert set(found) == set(expected), f"outputs are {sorted(found)}, not {sorted(expected)}"
    for name, y in expected.items():
        assert found[name].shape == y.shape, f"{name} is {list(found[name].shape)}, not {list(y.shape)}"
        assert found[name].isfinite().all(), f"{name} is not finite"
        error, size = float((found[name] - y).norm()), float(y.norm())
        assert error <= tolerance * size, f"{name} is off by {error / max(size, 1e-300):.1e}, allowed {tolerance:.0e}"


def require_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Equal bit by bit, output by output."""
    assert set(found) == set(expected), f"outputs are {sorted(found)}, not {sorted(expected)}"
    for name, y in expected.items():
        assert torch.equal(found[name], y), f"{name} differs in {int((found[name] != y).sum())} of {y.numel()} entries"


def gradients(scalar: Tensor, by: Mapping[str, Tensor], create_graph: bool = False) -> dict[str, Tensor]:
    """The gradient of a scalar by each of the named tensors, zeros where it does not depend on one."""
    found = torch.autograd.grad(scalar, list(by.values()), create_graph=create_graph, allow_unused=True, materialize_grads=True)
    return dict(zip(by, found, strict=True))


def squared_gradient(module: Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """The squared norm of the gradient by all floating inputs, itself differentiable."""
    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items() if x.is_floating_point()}
    found = gradients(total(module, {**inputs, **leaves}), leaves, create_graph=True)
    return torch.stack([gradient.square().sum() for gradient in found.values()]).sum()
