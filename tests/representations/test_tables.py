import numpy as np
import pytest
import torch

from torsor.representations.tables import Table

CALLS: list[int] = []


@Table
def ramp(n: int) -> np.ndarray:
    CALLS.append(n)
    return np.arange(n, dtype=np.float64)


class Scale(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * ramp.like(x, x.shape[-1]) + ramp.like(x.double(), 2)[1].to(x.dtype)


def test_table_is_computed_once_and_shared_between_dtypes():
    CALLS.clear()
    a, b = ramp.like(torch.ones(1), 71), ramp.like(torch.ones(1, dtype=torch.float64), 71)
    assert (a.dtype, b.dtype, CALLS) == (torch.float32, torch.float64, [71])
    assert ramp.like(torch.ones(1), 71) is a


def test_table_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        ramp(72)[0] = 1.0


def test_table_first_used_without_gradients_can_be_used_with_them():
    with torch.inference_mode():
        ramp.like(torch.ones(1), 73)
    x = torch.ones(73, requires_grad=True)
    (x * ramp.like(x, 73)).sum().backward()
    assert torch.equal(x.grad, torch.arange(73.0))


def test_table_first_used_inside_a_transform_stays_good_outside():
    torch.func.jacrev(lambda x: x * ramp.like(x, 74))(torch.ones(74))
    assert torch.equal(torch.func.vmap(lambda x: x * ramp.like(x, 74))(torch.ones(2, 74))[1], torch.arange(74.0))


@pytest.mark.compile
def test_tables_trace_and_export_as_constants():
    for size, strict in ((75, False), (76, True)):
        x = torch.ones(size)
        program = torch.export.export(Scale(), (x,), strict=strict)
        assert torch.equal(program.module()(x), torch.arange(float(size)) + 1)
        assert torch.equal(Scale()(x), torch.arange(float(size)) + 1)
    compiled = torch.compile(Scale(), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(torch.ones(77)), torch.arange(77.0) + 1)
    assert torch.equal(Scale()(torch.ones(77)), torch.arange(77.0) + 1)
