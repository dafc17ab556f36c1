"""What tests of commands share: one run in this process."""

from collections.abc import Callable

import pytest

from lds.cli import main


@pytest.fixture
def lds(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str, str]]:
    """Runs a command; its exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        text = capsys.readouterr()
        return stop.value.code, text.out, text.err

    return run
