"""Text of many values as a few numbers: what its pieces of three and four letters have in common.

The construction is that of skrub's `StringEncoder`: tf-idf of pieces of words, then a truncated
singular value decomposition (Grinsztajn, Oyallon, Kim and Varoquaux, 2023, "Vectorizing string
entries for data processing on tables", https://arxiv.org/abs/2312.09634).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

COMPONENTS = 30
"""Features of a column of text at most (the default of skrub's `StringEncoder`)."""

PIECES = 10_000
"""Pieces that are counted at most, the most frequent ones."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """An encoder of text, fitted.

    Arguments:
        vocabulary: pieces, in the order of `weights`.
        weights: `(n_pieces,)`, inverse document frequencies.
        components: `(n_features, n_pieces)`, scaled so that the variances of all features sum to 1,
            as much as one standardised column of numbers has.
    """

    vocabulary: tuple[str, ...]
    weights: NDArray[np.float64]
    components: NDArray[np.float64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Pieces":
        """Fit to texts, at least two of them different; the same ones always give the same."""
        vectorizer = _vectorizer(max_features=PIECES)
        counts = vectorizer.fit_transform(texts)
        n_features = max(1, min(COMPONENTS, min(counts.shape) - 1))
        svd = TruncatedSVD(n_features, random_state=0).fit(counts)
        spread = float(np.sqrt((counts @ svd.components_.T).var(axis=0).sum()))
        vocabulary = tuple(str(piece) for piece in vectorizer.get_feature_names_out())
        return cls(vocabulary, vectorizer.idf_, svd.components_ / (spread or 1.0))

    def features(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """`(n_texts, n_features)`; text of other pieces alone is 0."""
        vectorizer = _vectorizer(vocabulary=self.vocabulary)
        vectorizer.idf_ = self.weights
        return np.asarray(vectorizer.transform(texts) @ self.components.T)


def _vectorizer(**options: Any) -> TfidfVectorizer:
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), dtype=np.float64, **options)
