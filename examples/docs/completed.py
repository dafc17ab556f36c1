"""Show docstrings in the reference as `lds.estimators.documentation` completes them."""

import inspect
from typing import Any

from griffe import Class, Extension, dynamic_import


class Completed(Extension):
    """Take the docstring of a decorated class from the class itself, not from its source."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        if any(str(each.value).startswith("documented(") for each in cls.decorators):
            cls.docstring.value = inspect.getdoc(dynamic_import(cls.path))
