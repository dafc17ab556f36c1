"""The `lds` command in a pseudo-terminal, as a person sees it."""

import os
import re
import select
import signal
import sys
import time

import pytest

from lds.run_folder import load_run

pytestmark = [
    pytest.mark.ci,
    pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals"),
]

LONG = "--max-inner 5 --max-iter 100000 --patience 100000 --refits 1 --n-neighbors 5"


class Terminal:
    """A command in a terminal of 120 columns; what it has shown so far is `text`."""

    def __init__(self, *arguments: object) -> None:
        import pty

        command = [sys.executable, "-m", "lds", *map(str, arguments)]
        self.pid, self.screen = pty.fork()
        if not self.pid:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
            os.execve(command[0], command, environment)
        self.text = ""

    def until(self, wanted: str, seconds: float) -> float:
        """Read until a text is there; the seconds it took."""
        begun = time.monotonic()
        while wanted not in self.text:
            left = begun + seconds - time.monotonic()
            assert left > 0, f"no {wanted!r} after {seconds} s in {self.text[-2000:]!r}"
            if select.select([self.screen], [], [], left)[0]:
                self.text += self._read()
        return time.monotonic() - begun

    def end(self, seconds: float) -> int:
        """Read to the end; the exit code."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if select.select([self.screen], [], [], 1)[0]:
                found = self._read()
                self.text += found
                if not found:
                    return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f"not ended after {seconds} s: {self.text[-2000:]!r}")

    def press(self, key: str) -> None:
        """Press a key."""
        os.write(self.screen, key.encode())

    def _read(self) -> str:
        try:
            raw = os.read(self.screen, 65536).decode(errors="replace")
        except OSError:  # the command has ended
            return ""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", raw)


def test_ctrl_c_is_answered_at_once_and_a_second_one_stops(tmp_path):
    terminal = Terminal("fit", "digits", *LONG.split(), "--out", tmp_path / "run")
    terminal.until("2/100000", 120)
    terminal.press("\x03")
    assert terminal.until("training the committee on what was learned", 5) < 5
    terminal.until("members trained", 60)
    terminal.press("\x03")
    assert terminal.end(20) == 130
    assert f"to continue: lds fit --resume {tmp_path / 'run'}" in terminal.text.replace("\r\n", "")
    assert not (tmp_path / "run" / "summary.json").exists()


def test_ctrl_c_ends_a_fit_in_order(tmp_path):
    options = [*LONG.split(), "--refit-steps", "4"]
    terminal = Terminal("fit", "wine", *options, "--out", tmp_path / "run")
    terminal.until("2/100000", 120)
    terminal.press("\x03")
    assert terminal.end(120) == 130
    assert "it was interrupted" in terminal.text
    assert load_run(tmp_path / "run").summary["reason"] == "interrupted"
