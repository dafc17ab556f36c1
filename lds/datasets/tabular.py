"""Tables that come with scikit-learn, without a graph (§9.4.1).

| name | rows | features | classes | train / validation / stopping | preprocessing |
|---|---|---|---|---|---|
| iris | 150 | 4 | 3 | 10 / 10 / 10 | none |
| wine | 178 | 13 | 3 | 10 / 10 / 10 | standardised |
| breast_cancer | 569 | 30 | 2 | 10 / 10 / 10 | standardised |
| digits | 1797 | 64 | 10 | 50 / 50 / 50 | pixels divided by 16, into [0, 1] |

All are copies of UCI Machine Learning Repository data sets (CC BY 4.0). The seed draws a stratified
split; the remaining rows are the test rows. Standardising uses all rows, for the task is
transductive. Dividing all pixels by one number changes no neighbour under any metric.
"""

from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

from lds._types import Split
from lds.datasets.base import NodeDataset
from lds.datasets.splits import stratified

N_LABELS = {"iris": 10, "wine": 10, "breast_cancer": 10, "digits": 50}
"""Number of rows in each of train, validation and stopping."""


def load(name: str, seed: int, root: Path) -> NodeDataset:
    """Load a data set of `N_LABELS`; it comes with scikit-learn, so `root` is not used."""
    bunch = getattr(datasets, f"load_{name}")()
    features = bunch.data
    if name in ("wine", "breast_cancer"):
        scaler = StandardScaler().set_output(transform="default")  # whatever is configured
        features = scaler.fit_transform(features)
    elif name == "digits":
        features = features / 16
    labels = bunch.target.astype(np.int64)
    split = Split(*stratified(labels, [N_LABELS[name]] * 3, seed))
    classes = tuple(str(target) for target in bunch.target_names)
    return NodeDataset(name, features.astype(np.float32), labels, classes, split)
