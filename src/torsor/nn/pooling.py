"""From points to clouds: sums, means and maxima over a padded axis.

Axes: b batch, n points, c channels.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from torsor.signatures import Pool


def pool_points(x: Float[Tensor, "b n c"], mask: Bool[Tensor, "b n"] | None, how: Pool) -> Float[Tensor, "b c"]:
    """Pool over the valid points; a cloud without any gives zero.

    Args:
        x: what to pool.
        mask: the valid points; None where all are.
        how: "sum" (extensive), "mean" (intensive) or "max" (for invariant channels alone).
    """
    if mask is None:
        mask = x.new_ones(x.shape[:2]).bool()
    if how == "max" and x.shape[1]:
        largest = x.masked_fill(~mask[..., None], float("-inf")).amax(1)
        return largest.where(mask.any(1)[:, None], 0)
    total = x.where(mask[..., None], 0).sum(1)
    return total if how != "mean" else total / mask.sum(1).clamp(min=1)[:, None].to(x.dtype)


def centroid(positions: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"] | None) -> Float[Tensor, "b 1 d"]:
    """The mean of the valid points, zero for a cloud without any."""
    return pool_points(positions, mask, "mean")[:, None]
