"""What every test may use."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("COLUMNS", None)  # a worker of xdist has one; lines would be folded

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def cli(capsys):
    """Run a command line in this process; gives (exit code, stdout, stderr)."""
    from cli.__main__ import main

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def refused(cli):
    """Run a command line that must be refused in two lines; gives (code, message)."""

    def run(*arguments):
        code, out, err = cli(*arguments)
        lines = err.splitlines()
        assert code != 0, out
        assert out == ""
        assert len(lines) == 2, err
        assert lines[0].startswith("error ")
        assert lines[1].startswith("  To fix: ")
        assert "Traceback" not in err
        return code, lines[0]

    return run


@pytest.fixture(scope="module")
def asked_once():
    """Ask each accountant once about the same events; asking takes a second."""
    from functools import cache

    from privplan import opinions

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opinions, "second_opinions", cache(opinions.second_opinions))
        yield
