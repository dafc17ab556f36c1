"""Write the page of options from the records of the methods.

python examples/docs/write_options.py
"""

from pathlib import Path

from lds import LDSClassifier, ThesisLDSClassifier, ViewsLDSClassifier
from lds.structure.methods.registry import METHODS
from lds.structure.options import Options, option_fields

PAGE = Path(__file__).parent / "pages" / "options.md"

HEAD = """\
# Options

Every option of every method. In Python an option is an argument of the classifier, in the shell a
flag: `n_neighbors` is `--n-neighbors`. *Source* says where the default comes from, where a paper or
an experiment chose it: a section (§) is one of the thesis. The ablation over 13 rows is
[the comparison of the default with its parts](numbers.md#the-default-and-its-parts).

`python examples/docs/write_options.py` writes this page from the records that also make the checks,
the flags of the shell and the docstrings.
"""

CLASSES = {
    cls.method.name: cls.__name__
    for cls in (LDSClassifier, ThesisLDSClassifier, ViewsLDSClassifier)
}
"""The classifier of each method that has one."""

KINDS = {bool: "True or False", str: "text", int: "whole number", float: "number"}
"""Ranges of options that may have any value of their type."""


def page() -> str:
    """The text of the page."""
    return "\n".join([HEAD, *(section(method) for method in METHODS.values())])


def section(method: type[Options]) -> str:
    """The heading and table of one method."""
    users = [f'`learn_structure(method="{method.name}")`', f"`--method {method.name}`"]
    if method.name in CLASSES:
        users.insert(0, f"`{CLASSES[method.name]}`")
    lines = [
        f'## Method "{method.name}"',
        "",
        f"{method.title}: {', '.join(users)}.",
        "",
        "| option | default | range | what it is | source |",
        "|---|---|---|---|---|",
    ]
    for name, each in option_fields(method).items():
        known = each.metadata
        within = known["within"].words if known["within"] else KINDS[each.type]
        cells = (f"`{name}`", f"`{each.default!r}`", within, known["help"], known["source"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
