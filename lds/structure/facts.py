"""What a person asks first of a result: sizes, edges, how the run ended, accuracies."""

from typing import TYPE_CHECKING

from lds._types import ROLES
from lds._words import LEFT_AS_GIVEN, plural, rows_by_role
from lds.structure.metrics import quality

if TYPE_CHECKING:
    from lds.structure.result import Learned


def facts(learned: "Learned") -> dict[str, str]:
    """List them by name.

    Accuracies are shares of the rows beside them, whatever each row counts.
    """
    problem, left_out, test = learned.problem, learned.left_out, learned.test_quality
    sizes = {role: int(getattr(problem.split, role).size) for role in ROLES}
    roles = rows_by_role(sizes, reads_roles=learned.method.reads_roles)
    edges = f"{learned.starting_edges:,.0f} before learning, {learned.expected_edges:,.0f} after it"
    found = {
        "rows": f"{problem.n_nodes:,}: {roles}",
        "classes": f"{learned.probabilities.shape[1]}",
        "expected edges": f"{edges}; {LEFT_AS_GIVEN}" if learned.left_as_given else edges,
        "run": learned.ending(),
    }
    if left_out is not None and len(left_out.rows):
        share = (left_out.probabilities.argmax(1) == problem.labels[left_out.rows]).mean()
        found["accuracy on labels left out"] = f"{100 * share:.1f} % of {len(left_out.rows):,}"
    elif left_out is None:
        judged = quality(learned.probabilities, problem.labels, problem.split.stopping)
        assert judged is not None  # every problem has stopping rows
        found["early-stopping accuracy"] = _of(judged.accuracy, sizes["stopping"])
    if test is not None:
        found["test accuracy"] = _of(test.accuracy, sizes["test"])
    return found


def _of(accuracy: float, n_rows: int) -> str:
    return f"{100 * accuracy:.1f} % of {plural(n_rows, 'row')}"
