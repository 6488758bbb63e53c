import pytest
import torch


@pytest.fixture
def double_by_default():
    """e3nn computes its generators in torch's default dtype, whatever that of the angles."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
