"""The lines that a fit with verbose=True prints."""

from lds.structure.iteration import Iteration


def print_member(done: int, total: int) -> None:
    """Print how many members of a refit are trained."""
    print(f"refit, {done} of {total} members trained", flush=True)


def print_iteration(record: Iteration) -> None:
    """Print a finished outer iteration."""
    print(
        f"{record.iteration + 1}: inner {record.inner_loss:.3f}, outer {record.outer_loss:.3f}, "
        f"stopping {100 * record.stopping_accuracy:.1f} %, {record.expected_edges:,.0f} edges",
        flush=True,
    )
