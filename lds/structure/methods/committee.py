"""The library's own method: few shared coefficients, several networks. Imports nothing heavy.

A table without a graph, whose labelled rows may have any role, is left to learned views
(`methods.views`), unless an option says otherwise. For all else:

1. Measurements are transformed so that classes are spread like balls (`nn.whitening`). Near
   neighbours and given edges start with probabilities by a calibrated map (`edges.logistic`).
2. Algorithm 7 moves the few coefficients of that map by hypergradients. Train and validation labels
   are dealt anew at every restart, and hypergradients start once the inner training has settled.
   Given edges that join unlike nodes and still tell classes stay as they are, count as certain and
   have a deep SAGE on the committee (`committee_unlike`); so it is in control (c).
3. Refit: a committee of networks trains on every label but the early-stopping ones, on graphs drawn
   from the learned distribution. Beside networks it has discriminants, the PageRank of the labels
   and, where features are measurements or a graph is given, a forest, which reads what lies around
   a node as columns too (`nn.ensemble`). Its members are calibrated on the early-stopping rows and
   weighted by their loss there.
4. The committee's predictions say which pairs are of one class. With this as a further feature of
   pairs the members train again, twice; all of them stay on the committee, on the last
   distribution. Where edges join unlike nodes this would harm, and the early-stopping rows refuse
   it (`refit.harms`). Networks that train again fit the committee's predictions for all nodes,
   beside the labels (distillation).

The thesis's method has a free probability for every pair and memorises the edges of labelled nodes.
A few coefficients cannot memorise.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from lds.structure.methods.base import Method
from lds.structure.methods.thesis import Thesis
from lds.structure.methods.views import Views
from lds.structure.options import (
    AT_LEAST_1,
    NOT_NEGATIVE,
    RestartOptions,
    one_of,
    option,
    with_default,
)

if TYPE_CHECKING:
    from lds.structure.problem import Problem

ABLATION = "ablation over 13 rows, examples/benchmarks/results"


@dataclass(frozen=True)
class Committee(RestartOptions, Method):
    """The default method: its options.

    Examples:
        >>> Committee(n_neighbors=15).n_neighbors
        15
    """

    home: ClassVar[str | None] = "lds.structure.methods.committee_run"
    name: ClassVar[str] = "default"
    title: ClassVar[str] = "LDS, the default"
    fixed_length: ClassVar[bool] = True

    n_neighbors: int = with_default(RestartOptions, "n_neighbors", 30, source=ABLATION)
    metric: str = with_default(
        RestartOptions,
        "metric",
        "auto",
        "distance of the neighbour search, by scikit-learn's name; auto: cosine of tf-idf for "
        "words, else Euclidean in a metric learned from all rows",
        source=ABLATION,
    )
    hidden_channels: int = with_default(RestartOptions, "hidden_channels", 64, source=ABLATION)
    weight_decay: float = with_default(RestartOptions, "weight_decay", 2e-3, source=ABLATION)
    outer_lr: float = with_default(RestartOptions, "outer_lr", 0.1, source=ABLATION)
    inner_patience: int = with_default(RestartOptions, "inner_patience", 100, source=ABLATION)
    max_inner: int = with_default(RestartOptions, "max_inner", 100, source=ABLATION)
    patience: int = with_default(RestartOptions, "patience", 5, source=ABLATION)
    max_iter: int = with_default(RestartOptions, "max_iter", 5, source=ABLATION)
    redraw: bool = with_default(RestartOptions, "redraw", True, source="Appendix B")
    settle: float = with_default(RestartOptions, "settle", 0.05, source=ABLATION)
    agreement: float = option(
        1.0,
        "coefficient of the log-odds that the nodes of a pair are of one class, in the second and "
        "third refit; the early-stopping rows may refuse it; 0 has none",
        NOT_NEGATIVE,
        source=ABLATION,
    )
    distillation: float = option(
        1.0,
        "weight of the committee's own predictions in the training of its networks, in the second "
        "and third refit; 0 has none",
        NOT_NEGATIVE,
        source=ABLATION,
    )
    metric_rank: int = option(
        0,
        "rank of a metric on pairs that hypergradients learn too, below the numbers of rows and of "
        "features; 0 has none",
        NOT_NEGATIVE,
        source=ABLATION,
    )
    refits: int = option(
        3,
        "times that the committee trains: first on labels, then with its own predictions",
        AT_LEAST_1,
        source=ABLATION,
    )
    refit_steps: int = option(300, "most training steps of a member in a refit", AT_LEAST_1)
    max_nodes: int = option(
        25_000,
        "nodes on which networks are trained, labelled ones and their neighbours first; all nodes "
        "are predicted; with metric_rank all nodes train",
        AT_LEAST_1,
        source="some 10 minutes and 3 GB with 40 classes",
    )
    tables: str = option(
        "views",
        "what learns from a table without a graph, where no roles are given and no other option is "
        "set: views (learned views) or committee",
        one_of("views", "committee"),
        source="16 tables, examples/benchmarks/results/tables.jsonl",
    )

    def for_problem(self, problem: "Problem") -> Method:
        """Leave a table to learned views: no graph, no roles given, no option set.

        Whoever sets an option of the committee gets the committee.
        """
        plain = Committee()
        if problem.graph is None and problem.split.dealt and self in (plain, plain.frozen()):
            return Views() if self == plain else Views().frozen()
        return self

    def frozen(self) -> "Committee":
        """Return the method with a distribution that is never updated: control (c).

        Without updates one outer iteration says as much as five.
        """
        return replace(self, update_edges=False, agreement=0.0, max_iter=1)

    def control(self) -> Thesis:
        """Return the thesis's GCN on the thesis's starting graph: controls (a) and (b)."""
        return Thesis(support="auto")
