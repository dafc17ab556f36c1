"""Ten of the 20 Newsgroups, as tf-idf of frequent words (§9.4.1).

9607 posts, 236 words (those in more than 5 % of the posts, English stop words left out), 10
classes; 200 / 200 / 200 rows for train / validation / stopping, the remaining rows are for test.
Collected by K. Lang; scikit-learn downloads the by-date version. No licence is stated.
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Split
from lds.datasets.base import NodeDataset
from lds.datasets.splits import stratified

CLASSES = (
    "alt.atheism",
    "comp.sys.ibm.pc.hardware",
    "misc.forsale",
    "rec.autos",
    "rec.sport.hockey",
    "sci.crypt",
    "sci.electronics",
    "sci.med",
    "sci.space",
    "talk.politics.guns",
)
"""Groups of the thesis's protocol, by their names in scikit-learn."""

N_LABELS = 200
"""Number of rows in each of train, validation and stopping."""


def load(name: str, seed: int, root: Path) -> NodeDataset:
    """Load the posts, from `root`/20news10/20news10_tfidf.npz if that file exists.

    Arguments:
        name: "20news10".
        seed: of the stratified split.
        root: folder of that file, or of scikit-learn's downloads.

    Raises:
        FileNotFoundError: neither the file nor scikit-learn's copy exists, and the download failed.
    """
    path = root / name / f"{name}_tfidf.npz"
    features, labels, classes = _read(path) if path.is_file() else _fetch(path, root)
    split = Split(*stratified(labels, [N_LABELS] * 3, seed))
    return NodeDataset(name, features, labels, classes, split)


_Posts = tuple[sp.csr_array, NDArray[np.int64], tuple[str, ...]]


def _read(path: Path) -> _Posts:
    with np.load(path, allow_pickle=False) as stored:
        arrays: dict[str, NDArray[Any]] = dict(stored)
    parts = (arrays["data"].astype(np.float32), arrays["indices"], arrays["indptr"])
    features = sp.csr_array(parts, shape=tuple(arrays["shape"].tolist()))
    return features, arrays["y"].astype(np.int64), tuple(arrays["classes"].tolist())


def _fetch(path: Path, root: Path) -> _Posts:
    # Slow to import, and needed for a download only.
    from sklearn import datasets
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    try:
        posts = datasets.fetch_20newsgroups(
            data_home=str(root), subset="all", categories=CLASSES, shuffle=False
        )
    except OSError as error:
        raise FileNotFoundError(
            f"20news10 needs {path}, or scikit-learn's copy in {root}, and fetching it failed "
            f"({error}); data/README.md says where it comes from"
        ) from error
    counts = CountVectorizer(stop_words="english", min_df=0.05).fit_transform(posts.data)
    weights = TfidfTransformer(smooth_idf=False).fit_transform(counts)
    features = sp.csr_array(weights, dtype=np.float32)
    return features, posts.target.astype(np.int64), tuple(posts.target_names)
