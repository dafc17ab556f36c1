"""What rows count in means: their weights in proportion to each other."""

from torch import Tensor


def relative(weights: Tensor | None, rows: Tensor) -> Tensor | None:
    """Divide the weights of some rows by their mean.

    Arguments:
        weights: of all rows, `(n_rows,)`, above 0; None: all count alike.
        rows: row numbers.

    Returns:
        Of the length of `rows`, with mean 1; None: all count alike.
    """
    if weights is None:
        return None
    mine = weights[rows]
    return mine / mine.mean()
