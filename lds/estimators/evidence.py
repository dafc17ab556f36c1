"""What a fit leaves beside its record: features, their encoding, what its members say."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lds._run_files import ENCODING, FEATURES
from lds._types import Features
from lds.datasets.encoding import TableEncoding
from lds.run_folder import Run, load_account, load_encoding, load_features
from lds.structure.account import Account, account

if TYPE_CHECKING:  # torch, which pages do without
    from lds.structure.result import Learned


@dataclass(frozen=True, eq=False)
class Evidence:
    """What explains the predictions of a fit.

    Attributes:
        features: `(n_rows, n_features)`; None: unknown.
        encoding: how the columns of a table became features; None: they were features.
        account: what the members of the method say, and its coefficients.
    """

    features: Features | None = None
    encoding: TableEncoding | None = None
    account: Account = field(default_factory=Account)

    @classmethod
    def of(cls, learned: "Learned", encoding: TableEncoding | None = None) -> "Evidence":
        """Collect the evidence of a result."""
        return cls(learned.problem.features, encoding, account(learned))


def evidence_of(source: Any) -> Evidence:
    """Collect the evidence of a run, from whatever holds one.

    Arguments:
        source: a run folder, a fitted classifier, a `LearnedStructure` or a `Learned`. A `Run` has
            none: the evidence is empty.

    Raises:
        ValueError: a file is damaged.
    """
    if isinstance(source, Run):
        return Evidence()
    if not isinstance(source, str | Path):
        found: Evidence = (
            source._evidence() if hasattr(source, "_evidence") else Evidence.of(source)
        )
        return found
    folder = Path(source)
    return Evidence(
        load_features(folder) if (folder / FEATURES).is_file() else None,
        TableEncoding.from_arrays(load_encoding(folder)) if (folder / ENCODING).is_file() else None,
        Account.from_arrays(load_account(folder)),
    )
