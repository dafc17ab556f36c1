"""Run the scripts of the gallery and write their pages: text, code, output, picture.

    LDS_DATA=DATA python examples/docs/write_gallery.py [NAME ...]

A script is in cells: lines after `# %%` are code, comments between a blank line and the next cell
are text. `figure` is its picture. A line that ends in `# small: VALUE` has that value in tests.
"""

import contextlib
import io
import os
import re
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl

SCRIPTS = Path(__file__).resolve().parents[1] / "gallery"
PAGES = Path(__file__).parent / "pages"
SMALL = re.compile(r"^(\w+ = )(.+?)  # small: (.+)$", re.MULTILINE)

FOOT = """\

*The code, the output and the picture of this page are those of `examples/gallery/{name}.py`, run by
`python examples/docs/write_gallery.py {name}`{data}.*
"""


def cells(script: str) -> list[tuple[str, str]]:
    """Split a script: ("text", ...) and ("code", ...), in order."""
    found = []
    for k, part in enumerate(re.split(r"^# %%\n", script, flags=re.MULTILINE)):
        code = part
        if k == 0:
            code, text = "", part
        else:  # the comments at the end are the text before the next cell
            lines = part.rstrip().split("\n")
            last = len(lines)
            while last and lines[last - 1].startswith("#"):
                last -= 1
            if last and not lines[last - 1].strip():
                code, text = "\n".join(lines[:last]), "\n".join(lines[last:])
            else:
                text = ""
        if code.strip():
            found.append(("code", code.strip("\n")))
        if text.strip():
            found.append(("text", re.sub(r"^# ?", "", text.strip(), flags=re.MULTILINE)))
    return found


def shown(code: str) -> str:
    """The code as a reader sees it."""
    return SMALL.sub(r"\1\2", code)


def run(code: str, names: dict[str, Any], *, small: bool = False) -> str:
    """Run a cell; what it prints."""
    text = SMALL.sub(r"\1\3", code) if small else shown(code)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        exec(compile(text, "cell", "exec"), names)
    return printed.getvalue()


def page(name: str, *, small: bool = False) -> tuple[str, Any]:
    """Run a script: the text of its page, and its picture."""
    script = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    parts = []
    for kind, part in cells(script):
        if kind == "text":
            parts.append(part)
            continue
        parts.append(f"``` {{ .python }}\n{shown(part)}\n```")
        if printed := run(part, names, small=small).rstrip():
            parts.append(f"``` {{ .text }}\n{printed}\n```")
    parts.append(f"![The picture of the last cell]({_stem(name)}.png)")
    data = " with the data sets under `LDS_DATA`" if "LDS_DATA" in script else ""
    return "\n\n".join(parts) + "\n" + FOOT.format(name=name, data=data), names["figure"]


def code_of(text: str) -> list[str]:
    """The blocks of code in a page."""
    return re.findall(r"^``` { .python }\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)


def _stem(name: str) -> str:
    return f"gallery-{name.replace('_', '-')}"


def main() -> None:
    """Write the pages named on the command line, or all."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in sys.argv[1:] or sorted(path.stem for path in SCRIPTS.glob("*.py")):
        text, figure = page(name)
        with mpl.rc_context({"savefig.facecolor": "white"}):
            figure.savefig(PAGES / f"{_stem(name)}.png", dpi=110)
        (PAGES / f"{_stem(name)}.md").write_text(text, encoding="utf-8")
        print(textwrap.indent(text, "  "))


if __name__ == "__main__":
    main()
