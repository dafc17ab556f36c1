"""Methods with options for which a fit of 60 rows takes a second or less."""

import dataclasses

from lds.nn.ensemble import TELEPORTS
from lds.structure.methods.committee import Committee
from lds.structure.methods.thesis import Thesis

THESIS = Thesis(n_neighbors=3, max_inner=12, max_iter=3, hidden_channels=4, truncation=5)

DEFAULT = Committee(
    n_neighbors=5, max_inner=8, max_iter=2, hidden_channels=4, n_draws=4, settle=0, refit_steps=8
)

ALONE = dataclasses.replace(DEFAULT, refits=1)
"""The default method with one refit."""

NETWORKS = 1 + len(TELEPORTS)
"""Members of one refit that train by gradients: a GCN and PageRanks."""

KINDS = NETWORKS + 3
"""Members of one refit; two discriminants and the PageRank of the labels are the last."""

KINDS_OF_MEASUREMENTS = KINDS + 1
"""The same where features are measurements: the last is a forest."""

REFITS = DEFAULT.refits
