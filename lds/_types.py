from dataclasses import dataclass
import numpy as np
from numpy.typing import NDArray
import scipy.sparse as sp
@dataclass(frozen=True)
class Split:
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    stopping: NDArray[np.int64]
    test: NDArray[np.int64]
Features = np.ndarray | sp.csr_array
