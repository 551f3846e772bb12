"""The console command: run, and turn every deliberate error into two lines.

    error stage 'context' is named twice
      To fix: name each stage once

With `--json` the two lines are one object: {"error": {"code", "message", "hint"}}.
Results go to standard output, talk to standard error. Exit codes: 0 ok, 1 error,
2 usage, 3 the budget would be exceeded, 4 verification failed, 5 refused by policy.
An error that is not one of ours is our bug and keeps its traceback.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import typer

from cli import configuration
from cli.app import app
from cli.installed import EXTRA, HOW_TO_INSTALL
from cli.options import in_options
from cli.usage_words import plainly
from privplan.errors import ExitCode, ParameterError, PrivplanError

_OPTIONAL_VALUE = "--stages"
_JSON = "--json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Without the program's name; default those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = typer.main.get_command(app)
    refuse = _refuse_as_json if _JSON in given else _refuse
    values: configuration.Values = {}
    try:
        if given[:1] and given[0] in configuration.COMMANDS:
            known = configuration.settings(command)
            values = configuration.read(known, os.environ)
        code = command.main(
            _with_default_stages(given),
            prog_name="privplan",
            standalone_mode=False,
            default_map=configuration.default_map(values),
            obj=given,
        )
    except ParameterError as error:
        message, hint = in_options(error.message), in_options(error.hint)
        return refuse(message, hint + _where_else(values), error.exit_code)
    except PrivplanError as error:
        return refuse(error.message, error.hint, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return refuse("stopped", "run the command again", ExitCode.ERROR)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stderr.write(error.format_message() + "\n")  # type: ignore[attr-defined]
            return ExitCode.USAGE
        said = _explained(error, given)
        if said is None:
            raise
        message, hint, exit_code = said
        return refuse(message, hint + _where_else(values), exit_code)
    return code if isinstance(code, int) else ExitCode.OK


def _explained(
    error: Exception, given: Sequence[str]
) -> tuple[str, str, ExitCode] | None:
    """Say what an error means that is not ours and no bug; None where it is one."""
    if isinstance(error, ModuleNotFoundError):
        missing = (error.name or "").partition(".")[0]
        what = f"this command needs {missing}, which is not installed"
        return (what, HOW_TO_INSTALL, ExitCode.ERROR) if missing in EXTRA else None
    said = getattr(error, "format_message", None)  # the parser's own errors
    if said is None:
        return None
    about = getattr(error, "ctx", None)
    path = about.command_path if about else "privplan"
    message = plainly(" ".join(str(said()).split()).rstrip("."), given)
    return message, f"see {path} --help", ExitCode.USAGE


def _where_else(values: configuration.Values) -> str:
    """Say where a value may have come from that is not on the command line."""
    sources = sorted({found.source for found in values.values()})
    return f"; values also came from {', '.join(sources)}" if sources else ""


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


def _refuse_as_json(message: str, hint: str, code: ExitCode) -> int:
    said = {"code": int(code), "message": message, "hint": hint}
    sys.stderr.write(json.dumps({"error": said}) + "\n")
    return code


def run() -> None:
    """Run as a console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
