import pytest
import torch

from torsor.data.samples import Samples, Splits
from torsor.errors import DataError, UnknownNameError


@pytest.fixture
def samples() -> Samples:
    return Samples({"positions": torch.arange(12.0).reshape(4, 3), "mask": torch.tensor([True, False, True, True])})


def test_take_gives_the_named_rows_of_every_tensor(samples: Samples) -> None:
    batch = samples.take(torch.tensor([2, 0]))
    assert set(batch) == {"positions", "mask"}
    assert batch["positions"].tolist() == [[6, 7, 8], [0, 1, 2]]
    assert batch["mask"].tolist() == [True, True]


def test_length_counts_samples_and_iteration_gives_names(samples: Samples) -> None:
    assert len(samples) == 4
    assert list(samples) == ["positions", "mask"]
    assert "mask" in samples


def test_prefix_holds_the_first_samples_and_refuses_more_than_there_are(samples: Samples) -> None:
    assert torch.equal(samples.prefix(3)["positions"], samples["positions"][:3])
    for count in (0, 5):
        with pytest.raises(DataError, match=f"{count} samples were asked for and there are 4"):
            samples.prefix(count)


def test_to_converts_real_numbers_and_keeps_masks(samples: Samples) -> None:
    moved = samples.to(torch.float64)
    assert moved["positions"].dtype == torch.float64
    assert moved["mask"].dtype == torch.bool


def test_a_tensor_with_another_number_of_rows_is_named() -> None:
    with pytest.raises(DataError, match="'b' has 3 rows but 'a' has 2"):
        Samples({"a": torch.zeros(2), "b": torch.zeros(3)})
    with pytest.raises(DataError, match="'a' is a single number"):
        Samples({"a": torch.tensor(1.0)})
    with pytest.raises(DataError, match="at least one tensor"):
        Samples({})


def test_an_unknown_name_gives_the_nearest_one(samples: Samples) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'positions'"):
        samples["position"]


def test_splits_iterate_in_the_order_of_their_use(samples: Samples) -> None:
    assert [name for name, _ in Splits(samples, samples, samples).items()] == ["train", "valid", "test"]
