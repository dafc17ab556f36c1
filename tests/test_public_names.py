"""The public names of `lds`, as help and tab completion show them."""

import pydoc
import subprocess
import sys

import lds

NAMES = [
    "LDSClassifier",
    "LDSSearch",
    "LabelledKFold",
    "LearnStructure",
    "LearnedStructure",
    "ThesisLDSClassifier",
    "ViewsLDSClassifier",
    "__version__",
    "learn_structure",
]


def test_dir_lists_the_public_names_without_importing_them():
    program = "import sys, lds; print(*dir(lds)); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    names, imported = done.stdout.splitlines()
    assert names.split() == NAMES
    assert imported == "False"


def test_help_shows_every_public_name():
    text = pydoc.render_doc(lds, renderer=pydoc.plaintext)
    for name in set(NAMES) - {"__version__"}:
        assert f"class {name}(" in text or f"{name}(data" in text, name
    assert lds.__version__ in text


def test_every_public_name_is_that_of_its_module():
    assert sorted(lds.__all__) == NAMES
    for name in set(NAMES) - {"__version__"}:
        found = getattr(lds, name)
        assert found.__name__ == name
        assert getattr(sys.modules[found.__module__], name) is found
