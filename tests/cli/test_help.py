"""`lds fit --help`: a flag for every option, with the default of each method that has it."""

import re
import subprocess
import sys

import pytest

from lds.structure.methods.registry import DEFAULT, METHODS
from lds.structure.options import option_fields

OPTIONS = sorted({name for record in METHODS.values() for name in option_fields(record)})


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Lines of the help by flag, and the heading above each."""
    from typer.testing import CliRunner

    from lds.cli import app

    result = CliRunner().invoke(app, ["fit", "--help"], env={"COLUMNS": "400"})
    assert result.exit_code == 0
    heading, flag, found = "", "", {}
    for line in result.output.splitlines():
        text = line.strip(" │")
        if title := re.match(r"╭─ (.*?) ─", text):
            heading = title[1]
        elif text.startswith("--"):
            flag = text.split()[0]
            found[flag] = heading, text
        elif flag and line.startswith("│"):  # a default on a line of its own
            found[flag] = heading, f"{found[flag][1]} {text}"
    return found


def read(text, kind):
    """A default as it is shown, of the kind of its option."""
    return text == "True" if kind is bool else kind(text)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_flag_shows_the_default_of_each_method_that_has_the_option(shown, name):
    flag = f"--{name.replace('_', '-')}"
    heading, line = shown[flag]
    fields = {m: option_fields(r)[name] for m, r in METHODS.items() if name in option_fields(r)}
    (text,) = re.findall(r"\[default: (.*)\]$", line)
    first, *rest = text.split("; ")
    others = dict(part.split(": ") for part in rest)
    for method, field in fields.items():
        assert read(others.get(method, first), field.type) == field.default
    assert others.keys() <= fields.keys() - {DEFAULT}
    assert next(iter(fields.values())).metadata["help"][1:] in line
    one = f"Options of --method {' and '.join(fields)}"
    assert heading == ("Options of every method" if len(fields) == len(METHODS) else one)


def test_the_default_of_the_method_is_shown(shown):
    _, line = shown["--method"]
    assert f"[default: {DEFAULT}]" in line
    for name, record in METHODS.items():
        assert f"{name}: {record.title}" in line


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from lds.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'scipy', 'sklearn', 'numpy', 'pandas', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
