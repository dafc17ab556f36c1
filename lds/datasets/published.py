"""What readers of published graphs share: check the files, and let PyG read them silently."""

import hashlib
import io
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path


def check_published(path: Path, sha256: Mapping[str, str], way_out: str) -> None:
    """Refuse a file that is not the published one.

    Arguments:
        path: of the file.
        sha256: checksums by the name of a file; others are not checked.
        way_out: end of the message.

    Raises:
        ValueError: the checksum differs.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    known = sha256.get(path.name, found)
    if known != found:
        raise ValueError(
            f"{path} must be the published file with SHA-256 {known}, got one with {found}; "
            f"{way_out}"
        )


@contextmanager
def scratch() -> Iterator[str]:
    """Give a folder for what PyG processes, whose own place may be read-only; silence PyG.

    PyG writes to stderr and adds warning filters; the pickles that it reads use old names of
    modules.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield folder
