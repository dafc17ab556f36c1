"""Linear discriminant analysis of all nodes, labelled or not, whose classes agree along edges.

Networks trained by gradients learn from labelled nodes alone. A model of how the features of a
class are spread learns from every node: what labels say of a few, the shape of the cloud says of
the rest. With ten labels a class this is worth more than a better network.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lds.graphs.batch import GraphBatch
from lds.graphs.product import propagate
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.gcn import Attached, Reader

Params = dict[str, Tensor]

SHRINKAGE, FIRST_SHRINKAGE = 0.3, 0.5
"""Share of a multiple of I in the covariance within classes, and where labelled rows alone show it
(Ledoit and Wolf, 2004)."""

WIDE = 1000
"""Features beyond which it is diagonal: as many numbers squared cannot be told."""

ALONE = 8.0
"""Size (root mean square) of own evidence where neighbours are not heard; beside them it is 1."""

ITERATIONS, SWEEPS, ENOUGH = 20, 5, 1e-3
"""Most turns of fit and beliefs, sweeps of beliefs in each, and a change that ends them."""

BALANCE, DAMPING = 5.0, 0.2
"""How firmly classes keep their share among the labelled rows, and how fast this acts."""


class Discriminant:
    """Logits x W + b + c Σ_j â_ij q_j: what a node's own features and its neighbours say.

    The q are beliefs, class probabilities of every node of the fit, and Â the normalised drawn
    graph: one step of mean-field inference in a Markov random field whose energy counts, along
    edges, how often classes agree. W and b are those of linear discriminant analysis, in units in
    which own and neighbours' evidence are of one size.

    References:
        Zhang, Brady and Smith, 2001, "Segmentation of brain MR images through a hidden Markov
        random field model and the expectation-maximization algorithm".

    Arguments:
        n_features, n_classes: sizes of X and of the output.
        neighbors: False hears none: c = 0, for where the graph misleads.
    """

    def __init__(self, n_features: int, n_classes: int, *, neighbors: bool = True) -> None:
        self.sizes, self.neighbors = (n_features, n_classes), neighbors

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """One that has seen nothing: every class as likely as any other."""
        d, c = self.sizes
        fresh: dict[str, tuple[int, ...]] = {
            "W": (d, c), "b": (c,), "beliefs": (1, c), "coupling": ()
        }  # fmt: skip
        return {
            name: torch.zeros(shape, dtype=dtype, device=device) for name, shape in fresh.items()
        }

    def __call__(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Logits `(n_draws, n_nodes, n_classes)`; the same in training."""
        s, n = graph.n_draws, graph.n_nodes
        heard = propagate(graph, params["beliefs"].expand(n, -1).repeat(s, 1)).view(s, n, -1)
        return _own(params, features) + params["coupling"] * heard

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """X W + b, the same on every graph, `(n_draws, n_nodes, n_classes)`."""
        return _own(params, features).expand(graph.n_draws, -1, -1)

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        attached: Attached,
    ) -> Tensor:
        """Logits `(n_draws, n_new, n_classes)` of new nodes; see `GCN.attach`."""
        s, n = graph.n_draws, graph.n_nodes
        beliefs = params["beliefs"].expand(n, -1)
        heard = propagate(graph, beliefs.repeat(s, 1)).view(s, n, -1)
        own = _own(params, new)
        read = Reader(graph, attached)(beliefs.expand(s, n, -1), heard, own.softmax(1))
        return own + params["coupling"] * read

    def penalty(self, params: Params) -> Tensor:
        """0: the fit has its own."""
        return params["W"].new_zeros(())

    def scaled(self, params: Params, factor: float) -> Params:
        """Params whose logits are `factor` times as large on the nodes of the fit."""
        return params | {name: factor * params[name] for name in ("W", "b", "coupling")}


def fit_discriminant(
    network: Discriminant,
    features: DenseFeatures | SparseFeatures,
    labels: Tensor,
    rows: Tensor,
    graph: GraphBatch,
) -> Params:
    """Its params by expectation-maximisation, the classes of labelled rows known.

    In turns: a fit to the beliefs so far (at first the labels), and beliefs from own and
    neighbours' evidence. A neighbour says as much as its edge is probable: the coupling is the mean
    expected degree, by which normalised products are smaller. Beliefs that agree with each other
    may drift to a single class; a pressure against it holds every class near its share of `rows`
    (the class mass normalisation of Zhu, Ghahramani and Lafferty, 2003, in soft form).

    Arguments:
        network: whose params.
        features, labels: of the nodes; labels are read at `rows`.
        rows: labelled nodes.
        graph: one graph, its weights edge probabilities.
    """
    n, (d, n_classes) = features.shape[0], network.sizes
    dtype, device = features.dtype, features.device
    known = one_hot(labels[rows], n_classes).to(dtype)
    share = (1 + known.sum(0)) / (n_classes + len(rows))
    coupling = graph.scale.double().pow(-2).mean().to(device, dtype)  # 1 + the mean degree
    wanted = 1.0
    if not network.neighbors:
        coupling, wanted = torch.zeros_like(coupling), ALONE
    seen = _Together(features) if d <= WIDE else _Apart(features)
    squares = seen.squares()
    beliefs = torch.zeros(n, n_classes, dtype=dtype, device=device)
    beliefs[rows] = known
    pressure = torch.zeros(n_classes, dtype=dtype, device=device)
    for turn in range(ITERATIONS):
        before = beliefs
        if turn:
            weight, mean = seen.fit(beliefs, squares, SHRINKAGE)
        else:  # labelled rows alone count
            weight, mean = seen.fit(beliefs, seen.squares(rows), FIRST_SHRINKAGE)
        bias = -0.5 * (mean * weight).sum(0)
        own = seen.times(weight) + bias
        size = (own - own.mean(1, keepdim=True)).square().mean().sqrt().clamp_min(1e-6)
        scale = wanted / size
        weight, bias, own = scale * weight, scale * bias, (scale * own).to(dtype)
        if turn == 0:
            beliefs = own.softmax(1).index_copy(0, rows, known)
        for _ in range(SWEEPS):
            mass = beliefs.mean(0).clamp_min(1e-9)
            pressure = torch.lerp(pressure, BALANCE * (share / mass).log(), DAMPING)
            heard = coupling * propagate(graph, beliefs)
            beliefs = (own + pressure + heard).softmax(1).index_copy(0, rows, known)
        if turn > 0 and float((beliefs - before).abs().max()) < ENOUGH:
            break
    bias = (bias - seen.centre @ weight).to(dtype)
    return {
        "W": weight.to(dtype), "b": bias + pressure, "beliefs": beliefs, "coupling": coupling
    }  # fmt: skip


def _own(params: Params, features: DenseFeatures | SparseFeatures) -> Tensor:
    return features.matmul(params["W"]) + params["b"]


class _Together:
    """Features few enough for a covariance of all of them, in float64 around their mean.

    Squares of large values would cancel otherwise.
    """

    def __init__(self, features: DenseFeatures | SparseFeatures) -> None:
        x = features.dense().double()
        self.centre = x.mean(0)
        self.x = x - self.centre

    def times(self, weight: Tensor) -> Tensor:
        """(X - centre) W."""
        return self.x @ weight

    def squares(self, rows: Tensor | None = None) -> Tensor:
        """What `fit` needs of the second moments of some rows, or of all."""
        x = self.x if rows is None else self.x[rows]
        return x.T @ x

    def fit(self, beliefs: Tensor, squares: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
        """W of linear discriminant analysis, and the classes' means around `centre` as columns.

        Arguments:
            beliefs: by which nodes count, `(n_nodes, n_classes)`; a row of zeros does not.
            squares: of the rows that count.
            shrinkage: in [0, 1].
        """
        within, mean = within_classes(self.x, beliefs, squares, shrinkage)
        return torch.linalg.solve(within, mean), mean


class _Apart:
    """Features too many for that, each with its variance; the methods are those of `_Together`.

    What a rare word says counts for more than what a common one does.

    References:
        Bickel and Levina, 2004, "Some theory for Fisher's linear discriminant function, 'naive
        Bayes', and some alternatives when there are many more variables than observations".
    """

    def __init__(self, features: DenseFeatures | SparseFeatures) -> None:
        self.features, n = features, features.shape[0]
        ones = torch.ones(n, 1, dtype=features.dtype, device=features.device)
        self.centre = _transposed_product(features, ones).double().squeeze(1) / n

    def times(self, weight: Tensor) -> Tensor:
        product = self.features.matmul(weight.to(self.features.dtype))
        return product.double() - self.centre @ weight

    def squares(self, rows: Tensor | None = None) -> Tensor:
        features = self.features if rows is None else self.features.take(rows)
        return features.column_squares()

    def fit(self, beliefs: Tensor, squares: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
        count = beliefs.sum(0, dtype=torch.float64).clamp_min(1e-9)
        mean = _transposed_product(self.features, beliefs).double() / count
        variance = ((squares - mean.square() @ count) / count.sum()).clamp_min(0)
        level = variance.mean().clamp_min(1e-9 * float(squares.mean() / count.sum()) + 1e-30)
        mean = mean - self.centre.unsqueeze(1)
        return mean / ((1 - shrinkage) * variance + shrinkage * level).unsqueeze(1), mean


def within_classes(
    x: Tensor, beliefs: Tensor, scatter: Tensor, shrinkage: float
) -> tuple[Tensor, Tensor]:
    """How nodes that count by their beliefs are spread within classes.

    Arguments:
        x: float64 `(n_nodes, n_features)`, around its mean.
        beliefs: `(n_nodes, n_classes)`; a row of zeros does not count.
        scatter: Σ x xᵀ over the nodes that count.
        shrinkage: in [0, 1], share of a multiple of I.

    Returns:
        The shrunk covariance `(n_features, n_features)`, and the classes' means as columns
        `(n_features, n_classes)`.
    """
    count = beliefs.sum(0, dtype=torch.float64).clamp_min(1e-9)
    mean = x.T @ beliefs.double() / count
    within = (scatter - (mean * count) @ mean.T) / count.sum()
    level = within.diagonal().mean().clamp_min(1e-9 * float(x.square().mean()) + 1e-30)
    within = (1 - shrinkage) * within
    within.diagonal().add_(shrinkage * level)
    return within, mean


def _transposed_product(features: DenseFeatures | SparseFeatures, y: Tensor) -> Tensor:
    """Xᵀ Y."""
    weight = torch.zeros(
        features.shape[1], y.shape[1], dtype=y.dtype, device=y.device, requires_grad=True
    )
    with torch.enable_grad():
        (found,) = torch.autograd.grad(features.matmul(weight), weight, y)
    return found
