"""Name options in messages as the user of the shell typed them."""

import re
from contextvars import ContextVar
from typing import Any

import typer
from typer.core import TyperCommand

SAYS_OF = (
    r"(?: \([^()]*\))?(?: and \w+)? must\b| is for a\b| is for data sets\b| \S+ is the column\b"
)
"""How a message goes on after the name of a parameter."""

_flags: ContextVar[dict[str, str] | None] = ContextVar("_flags", default=None)


class Command(TyperCommand):
    """A command whose mistakes name the option, `--id`, and not the parameter, `identifier`."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command."""
        options = [each for each in self.params if each.param_type_name == "option"]
        token = _flags.set({str(each.name): each.opts[0] for each in options})
        try:
            return super().invoke(ctx)
        except (ValueError, TypeError) as error:
            if type(error) in (ValueError, TypeError):  # others may hold more than a sentence
                error.args = (as_typed(str(error)),)
            raise
        finally:
            _flags.reset(token)


def as_typed(text: str) -> str:
    """Replace the names of parameters in a message by the options of the command that runs.

    Arguments:
        text: the message, such as "identifier must name the column that names the rows".
    """
    flags = _flags.get()
    if not flags:
        return text
    names = "|".join(map(re.escape, sorted(flags, key=len, reverse=True)))
    single = rf"(?<![\w.'\"=-])({names})(?={SAYS_OF})"
    second = rf"(?<= and )({names})(?= must\b)"  # of "target and identifier must be two columns"
    return re.sub(f"{single}|{second}", lambda found: flags[found[0]], text)
