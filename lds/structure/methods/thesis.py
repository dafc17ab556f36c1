"""LDS of the thesis, to the letter: Algorithm 7 on a free probability for every pair.

Imports nothing heavy.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lds.edges.estimator_names import BLACK_BOX, PATHWISE
from lds.nn.registry import BACKBONES, check_backbone
from lds.structure.methods.base import Method
from lds.structure.options import (
    AT_LEAST_1,
    NOT_NEGATIVE,
    RestartOptions,
    one_of,
    option,
)

ESTIMATORS = ("straight_through", *PATHWISE, *BLACK_BOX)
"""All gradient estimators."""

BATCH_NEEDS: dict[str, Any] = {
    "backbone": "gcn",
    "estimator": "straight_through",
    "connected": False,
    "batch_nodes": 0,
    "denoising_weight": 0.0,
    "redraw": False,
    "settle": 0.0,
}
"""Options for which a batch of runs supports one value only."""

BATCH_ALIKE = ("hidden_channels", "truncation", "update_edges")
"""Options in which the runs of one batch agree."""


@dataclass(frozen=True)
class Thesis(RestartOptions, Method):
    """Algorithm 7: its options.

    References:
        Franceschi, 2021, §9.3 and §9.4.

    Examples:
        >>> Thesis(backbone="GATv2Conv").hidden_channels
        16
    """

    home: ClassVar[str | None] = "lds.structure.methods.thesis_run"
    name: ClassVar[str] = "thesis"
    title: ClassVar[str] = "LDS of the thesis"

    backbone: str = option(
        "gcn",
        "network: gcn, or two layers of a PyG convolution such as GATv2Conv",
        source="§9.4.2: GCN",
    )
    learn_inner_lr: float = option(
        0.0,
        "step size with which log inner_lr follows its own hypergradient; 0 keeps inner_lr",
        NOT_NEGATIVE,
    )
    support: str = option(
        "all",
        "pairs that may become edges: all; sparse: the starting edges and n_neighbors near "
        "neighbours, then the pairs that hypergradients ask for; auto: all where they take at most "
        "a quarter of the memory available",
        one_of("all", "sparse", "auto"),
        source="§9.3: all",
    )
    pairs_per_node: int = option(
        25, "pairs that a sparse support keeps at most, times the number of rows", AT_LEAST_1
    )
    grow_every: int = option(
        5, "hypersteps between growths of a sparse support; 0 never changes it", NOT_NEGATIVE
    )
    batch_nodes: int = option(
        0,
        "labelled rows that one loss reads, drawn at random, with a sparse support; 0 reads all",
        NOT_NEGATIVE,
    )
    connected: bool = option(
        False,
        "complete every drawn graph to a connected one, by the most probable pairs that join its "
        "components",
        source="§9.6",
    )
    estimator: str = option(
        "straight_through",
        "how gradients pass through drawn graphs: straight_through, reinmax, gumbel_softmax, "
        "score_function or disarm",
        one_of(*ESTIMATORS),
        source="§9.3.2: straight_through",
    )

    def __post_init__(self) -> None:
        """Check every option, and those that depend on each other."""
        super().__post_init__()
        check_backbone(self.backbone, self.connected)
        if self.connected and self.estimator != "straight_through":
            raise ValueError(
                f"connected must be False with estimator={self.estimator!r}, because added "
                "edges change the probability of a drawn graph"
            )
        needed = {"support": "sparse", "backbone": "gcn", "estimator": "straight_through"}
        for name, value in needed.items():
            if self.batch_nodes and getattr(self, name) != value:
                raise ValueError(
                    f"batch_nodes must be 0 with {name}={getattr(self, name)!r}; it needs {value!r}"
                )
        if not BACKBONES[self.backbone].reads_products and self.estimator in PATHWISE:
            raise ValueError(
                f"backbone must be 'gcn' with estimator={self.estimator!r}, which weighs the "
                f"gradient of its products, got {self.backbone!r}"
            )
        if self.learn_inner_lr and self.estimator in BLACK_BOX:
            raise ValueError(
                f"learn_inner_lr must be 0 with estimator={self.estimator!r}, which takes no "
                f"derivative, got {self.learn_inner_lr!r}"
            )

    def frozen(self) -> "Thesis":
        """Return the method with a distribution that is never updated: control (c)."""
        return replace(self, update_edges=False)

    def control(self) -> "Thesis":
        """Return the same network and starting graph: controls (a) and (b)."""
        return self

    def batch_key(self) -> tuple[Any, ...] | None:
        """Return a key: equal ones can run side by side; None: it runs alone."""
        if self.batch_misfits():
            return None
        return (self.support, *(getattr(self, name) for name in BATCH_ALIKE))

    def batch_misfits(self) -> list[str]:
        """Return the names of the options whose value a batch does not support."""
        return [name for name, value in BATCH_NEEDS.items() if getattr(self, name) != value]
