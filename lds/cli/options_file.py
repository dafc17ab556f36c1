"""`--config FILE`: options of a command from a TOML or YAML file; flags override them.

```toml
n-neighbors = 20
metric = "euclidean"
seed = 3
```
"""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from lds._files import write_atomically
from lds._words import nearest


def take_options(context: typer.Context, paths: list[Path] | None) -> list[Path] | None:
    """Make the options of a file the defaults of a command, before its flags are read.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it cannot be read, or names an option twice or one that the command does not
            have; or there are two files.
    """
    if not paths:
        return None
    if len(paths) > 1:
        raise ValueError(f"--config must be given once, got {' and '.join(map(str, paths))}")
    (path,) = paths
    names = {
        spelling.lstrip("-").replace("-", "_"): parameter
        for parameter in context.command.params
        for spelling in parameter.opts
        if parameter.name not in ("config", "resume", "help")
    }
    found: dict[str, Any] = {}
    for key, value in read_options(path).items():
        parameter = names.get(str(key).replace("-", "_"))
        if parameter is None:
            raise ValueError(
                f"--config {path} may hold the options of `lds {context.info_name}`, "
                f"{', '.join(sorted(names))}, got {key!r}{nearest(str(key), names)}"
            )
        if parameter.name in found:
            raise ValueError(f"--config {path} must hold an option once, got {key!r} a second time")
        typed = _as_typed(path, key, value)
        once = getattr(parameter, "multiple", False) and not isinstance(typed, list)
        found[str(parameter.name)] = [typed] if once else typed
    context.default_map = {**(context.default_map or {}), **found}
    return paths


def read_options(path: Path) -> dict[str, Any]:
    """Read the names and values of a .toml, .yaml or .yml file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it has another suffix, or does not hold names and values.
    """
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ValueError(f"--config must be a {', '.join(_PARSERS)} file, got {str(path)!r}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} for --config")
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"--config {path} cannot be read ({reason})") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"--config {path} must hold names and values, got {type(found).__name__}")
    return found


def write_options(path: Path, options: dict[str, Any]) -> None:
    """Write options to a YAML file that `--config` takes."""
    text = yaml.safe_dump(options, sort_keys=True)
    write_atomically(path, lambda file: file.write(text.encode()))


def _as_typed(path: Path, key: Any, value: Any) -> Any:
    """Convert a value to text, so that it is parsed as strictly as a flag (1.5 is no integer)."""
    if isinstance(value, list):
        return [_as_typed(path, key, entry) for entry in value]
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"--config {path} must hold numbers and text, got {key}: {value!r}")
    return str(value)


def _yaml(text: str) -> Any:
    """Parse YAML; refuse a name that is there twice, of which the parser would take the last."""
    top = yaml.compose(text, yaml.SafeLoader)
    names = [name.value for name, _ in top.value] if isinstance(top, yaml.MappingNode) else []
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"it holds {name} twice")
    return yaml.safe_load(text)


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".toml": tomllib.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
}

Config = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A .toml or .yaml file of options by name; flags override it.",
        callback=take_options,
        is_eager=True,
    ),
]
