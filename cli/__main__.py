"""The console command: run, and turn every deliberate error into two lines.

    error stage 'context' is named twice
      To fix: name each stage once

Results go to standard output, talk to standard error. Exit codes: 0 ok, 1 error,
2 usage, 3 the budget would be exceeded, 4 verification failed, 5 refused by policy.
An error that is not one of ours is our bug and keeps its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from cli.app import app
from cli.options import in_options
from privplan.errors import ExitCode, ParameterError, PrivplanError

_OPTIONAL_VALUE = "--stages"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Without the program's name; default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = typer.main.get_command(app)
    try:
        code = command.main(
            _with_default_stages(given),
            prog_name="privplan",
            standalone_mode=False,
            obj=given,
        )
    except ParameterError as error:
        message, hint = in_options(error.message), in_options(error.hint)
        return _refuse(message, hint, error.exit_code)
    except PrivplanError as error:
        return _refuse(error.message, error.hint, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _refuse("stopped", "run the command again", ExitCode.ERROR)
    except Exception as error:
        said = getattr(error, "format_message", None)  # the parser's own errors
        if said is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(said() + "\n")
            return ExitCode.USAGE
        about = getattr(error, "ctx", None)
        path = about.command_path if about else "privplan"
        message = " ".join(str(said()).split()).rstrip(".")
        return _refuse(message, f"see {path} --help", ExitCode.USAGE)
    return code if isinstance(code, int) else ExitCode.OK


def _with_default_stages(arguments: list[str]) -> list[str]:
    """Let `--stages` stand alone: it then means the default allocation."""
    full = []
    for position, argument in enumerate(arguments):
        full.append(argument)
        following = arguments[position + 1 : position + 2]
        if argument == _OPTIONAL_VALUE and (
            not following or following[0].startswith("-")
        ):
            full.append("")
    return full


def _refuse(message: str, hint: str, code: ExitCode) -> int:
    sys.stderr.write(f"error {message}\n  To fix: {hint}\n")
    return code


def run() -> None:
    """Run as a console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
