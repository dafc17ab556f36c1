"""Semi-supervised linear discriminant analysis, with classes coupled along edges.

A network trained by gradients learns from labelled nodes alone. Here the distribution of the
features of each class is fitted to all nodes, labelled or not. This helps most with few labels,
about ten a class.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lds._weights import relative
from lds.graphs.batch import GraphBatch
from lds.graphs.product import propagate
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.new_nodes import Attachment, NewNodeProduct

Params = dict[str, Tensor]

SHRINKAGE, FIRST_SHRINKAGE = 0.3, 0.5
"""Weight in [0, 1] of a multiple of I in the covariance within classes (Ledoit and Wolf, 2004); the
second is that of the first fit, to labelled rows alone."""

MAX_COVARIANCE_FEATURES = 1000
"""Number of features up to which the whole covariance is estimated; with more, its diagonal."""

EVIDENCE_SCALE, EVIDENCE_SCALE_ALONE = 1.0, 8.0
"""Root mean square of the centred logits x W + b: with neighbours, and without."""

ITERATIONS, SWEEPS, TOLERANCE = 20, 5, 1e-3
"""Most iterations of expectation-maximisation, mean-field sweeps in each, and the largest change of
a belief at which the iterations end."""

BALANCE, DAMPING = 5.0, 0.2
"""Strength of the pull of classes towards their share of the labelled rows, in logits per log-ratio
of shares; and the share of it that one sweep applies, in [0, 1]."""


class Discriminant:
    """Logits x_i W + b + c Σ_j â_ij q_j: evidence of a node's own features and of its neighbours.

    q_j are beliefs, the class probabilities of node j, and Â is the normalised drawn graph. This is
    one step of mean-field inference in a Markov random field that rewards edges between nodes of
    one class. W and b are those of linear discriminant analysis, scaled to `EVIDENCE_SCALE`; c is
    the coupling.

    References:
        Zhang, Brady and Smith, 2001, "Segmentation of brain MR images through a hidden Markov
        random field model and the expectation-maximization algorithm".

    Arguments:
        n_features, n_classes: sizes of X and of the output.
        neighbors: False sets c = 0, which ignores the graph.
    """

    def __init__(self, n_features: int, n_classes: int, *, neighbors: bool = True) -> None:
        self.sizes, self.neighbors = (n_features, n_classes), neighbors

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Return zeros: before a fit, all classes are equally probable."""
        d, c = self.sizes
        shapes: dict[str, tuple[int, ...]] = {"W": (d, c), "b": (c,), "beliefs": (1, c)}
        shapes["coupling"] = ()
        return {
            name: torch.zeros(shape, dtype=dtype, device=device) for name, shape in shapes.items()
        }

    def __call__(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Return logits `(n_draws, n_nodes, n_classes)`; the same in training."""
        s, n = graph.n_draws, graph.n_nodes
        mean = propagate(graph, params["beliefs"].expand(n, -1).repeat(s, 1)).view(s, n, -1)
        return _own(params, features) + params["coupling"] * mean

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """Return X W + b, the same on every graph, `(n_draws, n_nodes, n_classes)`."""
        return _own(params, features).expand(graph.n_draws, -1, -1)

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        edges: Attachment,
    ) -> Tensor:
        """Return logits `(n_draws, n_new, n_classes)` of new nodes; see `GCN.attach`."""
        s, n = graph.n_draws, graph.n_nodes
        beliefs = params["beliefs"].expand(n, -1)
        mean = propagate(graph, beliefs.repeat(s, 1)).view(s, n, -1)
        own = _own(params, new)
        at_new = NewNodeProduct(graph, edges)
        new_mean = at_new(beliefs.expand(s, n, -1), mean, own.softmax(1))
        return own + params["coupling"] * new_mean

    def penalty(self, params: Params) -> Tensor:
        """Return 0: the fit regularises by shrinkage."""
        return params["W"].new_zeros(())

    def scaled(self, params: Params, factor: float) -> Params:
        """Return params whose logits on the nodes of the fit are `factor` times as large."""
        return params | {name: factor * params[name] for name in ("W", "b", "coupling")}


def fit_discriminant(
    network: Discriminant,
    features: DenseFeatures | SparseFeatures,
    labels: Tensor,
    rows: Tensor,
    graph: GraphBatch,
    weights: Tensor | None = None,
) -> Params:
    """Fit the params by expectation-maximisation; the classes of labelled rows are known.

    An iteration fits W and b to the beliefs so far (at first the labels), then updates the beliefs
    from the logits, which include those of neighbours. The coupling c is the mean of 1 + degree:
    it undoes the normalisation of Â, so that an edge counts by its probability.

    Beliefs that reinforce each other can drift to one class. A pressure, added to the logits,
    keeps the mean belief in each class near its share of `rows`: the class mass normalisation of
    Zhu, Ghahramani and Lafferty, 2003, in soft form.

    Arguments:
        network: gives the numbers of features and classes, and whether neighbours count.
        features, labels: of the nodes; labels are read at `rows`.
        rows: labelled nodes.
        graph: one graph, its weights edge probabilities.
        weights: `(n_nodes,)`: what labelled rows count, in proportion to each other; their mean
            counts like a row without a label. None: all count alike.
    """
    n, (d, n_classes) = features.shape[0], network.sizes
    dtype, device = features.dtype, features.device
    known = one_hot(labels[rows], n_classes).to(dtype)
    counts = None
    if (mine := relative(weights, rows)) is not None:
        counts = torch.ones(n, dtype=dtype, device=device).index_copy(0, rows, mine.to(dtype))
    share = (1 + _counted(known, counts, rows).sum(0)) / (n_classes + len(rows))
    coupling = graph.scale.double().pow(-2).mean().to(device, dtype)  # mean of 1 + degree
    target = EVIDENCE_SCALE
    if not network.neighbors:
        coupling, target = torch.zeros_like(coupling), EVIDENCE_SCALE_ALONE
    full = d <= MAX_COVARIANCE_FEATURES
    model = _FullCovariance(features) if full else _DiagonalCovariance(features)
    squares = model.squares(counts=counts)
    beliefs = torch.zeros(n, n_classes, dtype=dtype, device=device)
    beliefs[rows] = known
    pressure = torch.zeros(n_classes, dtype=dtype, device=device)
    for iteration in range(ITERATIONS):
        before = beliefs
        if iteration:
            weight, mean = model.fit(_counted(beliefs, counts), squares, SHRINKAGE)
        else:  # labelled rows alone count
            first = model.squares(rows, counts)
            weight, mean = model.fit(_counted(beliefs, counts), first, FIRST_SHRINKAGE)
        bias = -0.5 * (mean * weight).sum(0)
        own = model.times(weight) + bias
        size = (own - own.mean(1, keepdim=True)).square().mean().sqrt().clamp_min(1e-6)
        scale = target / size
        weight, bias, own = scale * weight, scale * bias, (scale * own).to(dtype)
        if iteration == 0:
            beliefs = own.softmax(1).index_copy(0, rows, known)
        for _ in range(SWEEPS):
            mass = _counted(beliefs, counts).mean(0).clamp_min(1e-9)
            pressure = torch.lerp(pressure, BALANCE * (share / mass).log(), DAMPING)
            logits = own + pressure
            if network.neighbors:
                logits = logits + coupling * propagate(graph, beliefs)
            beliefs = logits.softmax(1).index_copy(0, rows, known)
        if iteration > 0 and float((beliefs - before).abs().max()) < TOLERANCE:
            break
    bias = (bias - model.centre @ weight).to(dtype)
    return {
        "W": weight.to(dtype),
        "b": bias + pressure,
        "beliefs": beliefs,
        "coupling": coupling,
    }


def _counted(beliefs: Tensor, counts: Tensor | None, rows: Tensor | None = None) -> Tensor:
    """Multiply the beliefs of some nodes, or of all, by what each node counts."""
    if counts is None:
        return beliefs
    return (counts if rows is None else counts[rows]).unsqueeze(1) * beliefs


def _own(params: Params, features: DenseFeatures | SparseFeatures) -> Tensor:
    return features.matmul(params["W"]) + params["b"]


class _FullCovariance:
    """Linear discriminant analysis with the whole covariance of the features.

    It works in float64 on features centred at their mean: the squares of large values would lose
    digits by cancellation.
    """

    def __init__(self, features: DenseFeatures | SparseFeatures) -> None:
        x = features.dense().double()
        self.centre = x.mean(0)
        self.x = x - self.centre

    def times(self, weight: Tensor) -> Tensor:
        """Return (X - centre) W."""
        return self.x @ weight

    def squares(self, rows: Tensor | None = None, counts: Tensor | None = None) -> Tensor:
        """Return Σ c x xᵀ over some rows, or over all: what `fit` needs of the second moments.

        Arguments:
            rows: node numbers; None: all.
            counts: c of all nodes; None: ones.
        """
        x = self.x if rows is None else self.x[rows]
        if counts is None:
            return x.T @ x
        c = counts if rows is None else counts[rows]
        return x.T @ (c.double().unsqueeze(1) * x)

    def fit(self, beliefs: Tensor, squares: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
        """Return W, and the means of the classes less `centre`, as columns.

        Arguments:
            beliefs: `(n_nodes, n_classes)`, the weights of the nodes in each class; a row of zeros
                leaves the node out.
            squares: `squares` of the rows with weight.
            shrinkage: in [0, 1].
        """
        within, mean = within_classes(self.x, beliefs, squares, shrinkage)
        return torch.linalg.solve(within, mean), mean


class _DiagonalCovariance:
    """Linear discriminant analysis with the variances of the features alone.

    The methods are those of `_FullCovariance`. A feature of low variance, such as a rare word, gets
    a large weight.

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

    def squares(self, rows: Tensor | None = None, counts: Tensor | None = None) -> Tensor:
        if rows is None:
            return self.features.column_squares(counts)
        return self.features.take(rows).column_squares(None if counts is None else counts[rows])

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
    """Return the shrunk covariance within classes, and the means of the classes.

    Arguments:
        x: float64 `(n_nodes, n_features)`, less its mean.
        beliefs: `(n_nodes, n_classes)`, the weights of the nodes in each class; a row of zeros
            leaves the node out.
        scatter: Σ x xᵀ over the nodes with weight.
        shrinkage: in [0, 1], the weight of a multiple of I.

    Returns:
        The covariance `(n_features, n_features)`, and the means as columns
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
    """Return Xᵀ Y, as the derivative of a product with X."""
    weight = torch.zeros(
        features.shape[1], y.shape[1], dtype=y.dtype, device=y.device, requires_grad=True
    )
    with torch.enable_grad():
        (found,) = torch.autograd.grad(features.matmul(weight), weight, y)
    return found
