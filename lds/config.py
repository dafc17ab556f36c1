"""The options of a run, each default with its source."""

from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args

Support = Literal["all", "sparse", "auto"]
"""Which pairs may become edges."""

Method = Literal["committee", "lds"]
"""How a graph is learned: the library's own way, or the thesis's."""

TITLES: dict[Method, str] = {"committee": "LDS, the default", "lds": "LDS of the thesis"}
"""What tables call them."""

Estimator = Literal["straight_through", "reinmax", "gumbel_softmax", "score_function", "disarm"]
"""How the gradient by a probability comes from drawn graphs."""


@dataclass(frozen=True)
class LDSConfig:
    """Options of LDS (Algorithm 7). Defaults are the thesis's where it names one.

    `LDSConfig.of()` has the defaults of the library's own method.

    Arguments:
        n_neighbors: k of the kNN graph that starts θ where none is given (§9.4.2: 10 or 20).
        metric: of the neighbour search (§9.4.2: cosine or Euclidean), or, with the committee,
            "auto": cosine of tf-idf for words (`lds.graphs.similarity.are_words`), else Euclidean
            in a metric learned from all rows (`lds.nn.whitening`).
        backbone: the network: "gcn" (the thesis), or two layers of a PyG convolution, one of
            `lds.nn.registry.BACKBONES`. Those take edges with weights, so the hypergradient reaches
            candidate pairs alone: time and memory grow with them, and a sparse support (the
            starting edges and `pairs_per_node` neighbours) does not grow.
        hidden_channels: width of the GCN's hidden layer (§9.4.2: 16).
        dropout: probability in [0, 1) (§9.4.2: 0.5). With the committee, that of X is less where it
            has few columns (`lds.nn.ensemble.FULL_DROPOUT_FEATURES`).
        weight_decay: ρ, times half the squared norm of W1, beside a mean cross-entropy (Kipf and
            Welling, 2017: 5e-4; the thesis gives no value).
        inner_lr: γ of the inner Adam (§9.4.2: one of 0.005, 0.01, 0.02).
        learn_inner_lr: step size with which log γ follows its own hypergradient; 0 keeps γ fixed.
        outer_lr: η of the first update of θ (§9.4.2: tuned).
        outer_lr_decay: factor on η after each outer iteration (§9.4.2: exponentially decreasing).
        truncation: τ, inner steps between hypergradients and swept over by each (§9.4.3: 5); 0 is
            alternating minimisation.
        n_draws: S, graphs averaged for a prediction (§9.4.2: 16).
        inner_tol: ε; an inner step counts as progress if its loss times 1 + ε is below the best so
            far (§9.3.2: 1e-3).
        inner_patience: p, inner steps without progress that end an inner run (§9.3.2 leaves it
            open; 20).
        max_inner: most steps of one inner run.
        patience: outer iterations without a better early-stopping score that end the run (§9.4.2:
            20).
        max_iter: most outer iterations.
        support: which pairs may become edges: "all" (the thesis); "sparse", the starting edges, the
            `n_neighbors` nearest neighbours (up to 20,000 nodes) and pairs that the hypergradient
            asks for, in memory proportional to them; "auto", all where they take at most a quarter
            of the memory available.
        pairs_per_node: pairs that a sparse support keeps at most, times the number of nodes (or
            the starting edges, where they are more): the ones with the largest probabilities.
        grow_every: hypersteps between growths of a sparse support; 0 never changes it.
        batch_nodes: labelled nodes that one inner or outer loss looks at, drawn at random, on the
            part of the graph that reaches them: unbiased, for graphs too large to be gone through
            at every step; 0 is all of them. Only with a sparse support, the GCN and
            "straight_through". Losses get noisy: a larger `inner_patience` suits them.
        connected: complete every drawn graph to a connected one, by the most probable pairs that
            join its parts (the wish of §9.6; `lds.graphs.connected` says what it does to the
            distribution).
        estimator: how the gradient reaches θ through drawn graphs (§9.3.2: "straight_through").
            "reinmax" and "gumbel_softmax" (hard, temperature 0.5) weigh it pair by pair;
            "score_function" and "disarm" take n_draws values of the outer loss a hypergradient,
            each after the same inner steps on one drawn graph, and no derivative. These four keep θ
            in [1e-3, 1 - 1e-3] and a number for every candidate pair; a sparse support does not
            grow with them.
        update_edges: False never updates θ: the frozen-graph control.
        label_weight, denoising_weight: of the validation loss and of denoising (see
            `lds.structure.denoising`) in the outer objective; not both 0. With a denoising weight
            the inner objective trains the decoder too.
        redraw: deal the train and validation rows anew before every inner run (Appendix B).
        settle: hypergradients are taken once the best inner loss fell by less than this share of it
            within a window of τ steps; 0 takes them from the first step.
        agreement: coefficient of the log-odds that the nodes of a pair are of one class, in the
            further refits of the committee, unless the early-stopping rows refuse it; 0 has none
            but the first.
        metric_rank: rank of a metric on pairs that the hypergradients learn with the other shared
            coefficients of the committee (`lds.graphs.directions`); 0 has none.
        method: "lds" (the thesis), or "committee" (see `lds.structure.committee`), whose defaults
            `LDSConfig.of` knows.
        seed: of everything random in the run.

    Raises:
        TypeError: an option is not a number, or not an integer, where one is needed.
        ValueError: an option is outside its range, by name.
    """

    n_neighbors: int = 10
    metric: str = "cosine"
    backbone: str = "gcn"
    hidden_channels: int = 16
    dropout: float = 0.5
    weight_decay: float = 5e-4
    inner_lr: float = 0.01
    learn_inner_lr: float = 0.0
    outer_lr: float = 1.0
    outer_lr_decay: float = 0.95
    truncation: int = 5
    n_draws: int = 16
    inner_tol: float = 1e-3
    inner_patience: int = 20
    max_inner: int = 400
    patience: int = 20
    max_iter: int = 200
    support: Support = "all"
    pairs_per_node: int = 25
    grow_every: int = 5
    batch_nodes: int = 0
    connected: bool = False
    estimator: Estimator = "straight_through"
    update_edges: bool = True
    label_weight: float = 1.0
    denoising_weight: float = 0.0
    redraw: bool = False
    settle: float = 0.0
    agreement: float = 0.0
    metric_rank: int = 0
    method: Method = "lds"
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_kind(field.name, field.type, getattr(self, field.name))
        for name in (
            "n_neighbors", "hidden_channels", "n_draws", "inner_patience", "max_inner",
            "patience", "max_iter", "pairs_per_node",
        ):  # fmt: skip
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("inner_lr", "outer_lr"):
            _require(self, name, 0 < getattr(self, name) < float("inf"), "positive")
        for name in (
            "weight_decay",
            "inner_tol",
            "learn_inner_lr",
            "truncation",
            "grow_every",
            "batch_nodes",
            "metric_rank",
        ):
            _require(self, name, 0 <= getattr(self, name) < float("inf"), "0 or more")
        _require(self, "seed", self.seed >= 0, "0 or more")
        _require(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")
        _require(self, "outer_lr_decay", 0 < self.outer_lr_decay <= 1, "in (0, 1]")

        self._check_method()
        for name, literal in (
            ("support", Support), ("estimator", Estimator), ("method", Method)
        ):  # fmt: skip
            known = get_args(literal)
            wanted = f"one of {', '.join(map(repr, known))}"
            _require(self, name, getattr(self, name) in known, wanted)
        if self.connected and self.estimator != "straight_through":
            raise ValueError(
                f"connected must be False with estimator={self.estimator!r}, which needs draws "
                "whose probability is known"
            )
        for name, value in (
            ("support", "sparse"), ("backbone", "gcn"), ("estimator", "straight_through")
        ):  # fmt: skip
            if self.batch_nodes and getattr(self, name) != value:
                raise ValueError(
                    f"batch_nodes must be 0 with {name}={getattr(self, name)!r}; it needs {value!r}"
                )
        if self.backbone != "gcn" and self.estimator in ("reinmax", "gumbel_softmax"):
            raise ValueError(
                f"backbone must be 'gcn' with estimator={self.estimator!r}, which weighs the "
                f"gradient of its products, got {self.backbone!r}"
            )
        if self.learn_inner_lr and self.estimator in ("score_function", "disarm"):
            raise ValueError(
                f"learn_inner_lr must be 0 with estimator={self.estimator!r}, which takes no "
                f"derivative, got {self.learn_inner_lr!r}"
            )

    def _check_method(self) -> None:
        for name in ("label_weight", "denoising_weight", "agreement", "settle"):
            _require(self, name, 0 <= getattr(self, name) < float("inf"), "0 or more")
        if not self.label_weight + self.denoising_weight:
            raise ValueError("label_weight and denoising_weight must not both be 0")
        if self.method != "committee":
            if self.metric_rank:
                raise ValueError(
                    f"metric_rank must be 0 with method='lds', got {self.metric_rank!r}; "
                    "method='committee' takes it"
                )
            return
        for field in fields(self):
            if field.name in NOT_COMMITTEE and getattr(self, field.name) != field.default:
                raise ValueError(
                    f"{field.name} must be {field.default!r} with method='committee', got "
                    f"{getattr(self, field.name)!r}; method='lds' takes it"
                )
        if self.support == "all":
            raise ValueError(
                "support must be 'sparse' or 'auto' with method='committee', whose edges are near "
                "neighbours and given ones, got 'all'; method='lds' takes it"
            )

    @classmethod
    def of(cls, method: Method = "committee", **options: Any) -> "LDSConfig":
        """The options of a method, with its own defaults for those not given or None.

        Arguments:
            method: "committee", the library's own way, or "lds", the thesis's.
            options: by name.

        Raises:
            TypeError: an option of no such name, or of the wrong kind.
            ValueError: an unknown method, or an option out of range or not of this method.
        """
        names = {field.name for field in fields(cls)}
        if unknown := sorted(options.keys() - names):
            raise TypeError(
                f"there is no option {unknown[0]!r}; there are {', '.join(sorted(names))}"
            )
        given = {name: value for name, value in options.items() if value is not None}
        return cls(**(COMMITTEE if method == "committee" else {}) | given | {"method": method})

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)


COMMITTEE: dict[str, Any] = {
    "n_neighbors": 30,
    "metric": "auto",
    "hidden_channels": 64,
    "weight_decay": 2e-3,
    "outer_lr": 0.1,
    "max_inner": 100,
    "inner_patience": 100,
    "patience": 5,
    "max_iter": 5,
    "support": "sparse",
    "redraw": True,
    "settle": 0.05,
    "agreement": 1.0,
}
"""What the committee changes of the thesis's defaults."""

NOT_COMMITTEE = ("backbone", "connected", "estimator", "batch_nodes", "learn_inner_lr")
"""Options of free edge probabilities or of a single network."""


def _check_kind(name: str, kind: Any, value: Any) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if kind is int and not (number and isinstance(value, Integral)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if kind is bool and not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    if kind is float and not number:
        raise TypeError(f"{name} must be a number, got {value!r}")


def _require(config: LDSConfig, name: str, holds: bool, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {wanted}, got {getattr(config, name)!r}")
