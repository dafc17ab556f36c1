"""Encode text of many values as a few numbers, by its pieces of three and four letters.

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
"""Most features of a column of text (the default of skrub's `StringEncoder`)."""

PIECES = 10_000
"""Most pieces in the vocabulary; the most frequent ones are kept."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """A fitted encoder of text.

    Arguments:
        vocabulary: pieces, in the order of `weights`.
        weights: `(n_pieces,)`, inverse document frequencies.
        components: `(n_features, n_pieces)`, scaled so that the variances of the features sum to
            1, the variance of a standardised column of numbers.
    """

    vocabulary: tuple[str, ...]
    weights: NDArray[np.float64]
    components: NDArray[np.float64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Pieces":
        """Fit to texts, at least two of them different; the result depends on the texts alone."""
        vectorizer = _vectorizer(max_features=PIECES)
        counts = vectorizer.fit_transform(texts)
        n_features = max(1, min(COMPONENTS, min(counts.shape) - 1))
        svd = TruncatedSVD(n_features, random_state=0).fit(counts)
        spread = float(np.sqrt((counts @ svd.components_.T).var(axis=0).sum()))
        vocabulary = tuple(str(piece) for piece in vectorizer.get_feature_names_out())
        return cls(vocabulary, vectorizer.idf_, svd.components_ / (spread or 1.0))

    def features(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Compute the features, `(n_texts, n_features)`; text without a known piece is 0."""
        vectorizer = _vectorizer(vocabulary=self.vocabulary)
        vectorizer.idf_ = self.weights
        return np.asarray(vectorizer.transform(texts) @ self.components.T)


def _vectorizer(**options: Any) -> TfidfVectorizer:
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), dtype=np.float64, **options)
