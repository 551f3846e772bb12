"""Where options come from: flag > environment > project file > default.

    --eps 1                     on the command line; always wins
    PRIVPLAN_PLAN_EPS=1         in the environment, PRIVPLAN_<COMMAND>_<OPTION>
    [plan] eps = 1              in privplan.toml of this folder
                                (PRIVPLAN_CONFIG names another file)

Options of `plan` and `train` can be set so. What weakens a check or changes what is
printed for machines cannot: --force, --resume, --allow-code-change, --json and their
like stand on the command line or nowhere. A name that means nothing is refused, because
a misspelt budget would be a forgotten one.

Edges: reads the environment and one file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privplan.errors import DocumentError, ParameterError

FILE_NAME = "privplan.toml"
FILE_VARIABLE = "PRIVPLAN_CONFIG"
COMMANDS = ("plan", "train")
_NEVER = {
    "allow_code_change", "as_json", "force", "help", "resume", "time", "what_if",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One option that can be set outside the command line.

    Attributes:
        command: "plan" or "train".
        name: Of the option, without its dashes.
        parameter: What the program calls it.
        help: What the option does.
        default: Its value when nobody sets it.
        flag: Whether it is on or off.
        repeated: Whether it may be given several times.
    """

    command: str
    name: str
    parameter: str
    help: str
    default: object
    flag: bool
    repeated: bool

    @property
    def variable(self) -> str:
        """Return its name in the environment."""
        return f"PRIVPLAN_{self.command}_{self.name}".upper().replace("-", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A value that was set outside the command line.

    Attributes:
        value: As written.
        source: Where: the variable's name, or the file's.
    """

    value: object
    source: str


Values = dict[tuple[str, str], Found]


def settings(root: Any) -> tuple[Setting, ...]:  # noqa: ANN401 - the parser's own type
    """Return every setting, read from the commands themselves.

    Args:
        root: The program's command with its subcommands.
    """
    found = []
    for command in COMMANDS:
        for option in root.commands[command].params:
            if option.param_type_name != "option" or option.name in _NEVER:
                continue
            found.append(
                Setting(
                    command=command,
                    name=option.opts[0].lstrip("-"),
                    parameter=option.name,
                    help=option.help or "",
                    default=option.default,
                    flag=bool(option.is_flag),
                    repeated=bool(option.multiple),
                )
            )
    return tuple(found)


def read(known: tuple[Setting, ...], environment: Mapping[str, str]) -> Values:
    """Read what is set in the environment and in the project file.

    Raises:
        DocumentError: The file is no TOML, or cannot be read.
        ParameterError: A name is unknown, or a value is of a wrong kind.
    """
    path = Path(environment.get(FILE_VARIABLE) or FILE_NAME)
    asked = FILE_VARIABLE in environment
    found = _from_file(path, known) if asked or path.is_file() else {}
    return found | _from_environment(known, environment)


def default_map(values: Values) -> dict[str, dict[str, object]]:
    """Return values as defaults by command, in the form the parser takes."""
    made: dict[str, dict[str, object]] = {}
    for (command, parameter), found in values.items():
        made.setdefault(command, {})[parameter] = found.value
    return made


def _from_file(path: Path, known: tuple[Setting, ...]) -> Values:
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise DocumentError(
            f"the configuration {path} cannot be read: {error.strerror}",
            hint="make one with privplan init",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DocumentError(
            f"the configuration {path} is no TOML: {str(error)[:80]}",
            hint="mend that line; privplan init --out new.toml writes an example",
        ) from error
    found: Values = {}
    for command, section in content.items():
        if command not in COMMANDS or not isinstance(section, dict):
            raise _unknown(f"'{command}' in {path}", "sections are [plan] and [train]")
        names = {s.name: s for s in known if s.command == command}
        for name, value in section.items():
            if name not in names:
                raise _unknown(
                    f"'{name}' in [{command}] of {path}",
                    "see privplan config show for every name",
                )
            setting = names[name]
            _check_kind(setting, value, path)
            found[command, setting.parameter] = Found(value=value, source=str(path))
    return found


def _check_kind(setting: Setting, value: object, path: Path) -> None:
    right = (
        isinstance(value, list) and all(isinstance(one, str) for one in value)
        if setting.repeated
        else isinstance(value, bool) == setting.flag
        and isinstance(value, bool | int | float | str)
    )
    if not right:
        kind = "a list of texts" if setting.repeated else "one value"
        kind = "true or false" if setting.flag else kind
        raise ParameterError(
            f"'{setting.name}' in [{setting.command}] of {path} is not {kind}",
            hint=f"write it like the option: {setting.help or setting.name}",
        )


def _from_environment(
    known: tuple[Setting, ...], environment: Mapping[str, str]
) -> Values:
    names = {setting.variable: setting for setting in known}
    prefixes = tuple(f"PRIVPLAN_{command.upper()}_" for command in COMMANDS)
    found: Values = {}
    for variable, text in environment.items():
        if not variable.startswith(prefixes):
            continue
        if variable not in names:
            raise _unknown(
                f"{variable} in the environment",
                "see privplan config show for every name",
            )
        setting = names[variable]
        if text:
            value = text.split() if setting.repeated else text
            found[setting.command, setting.parameter] = Found(
                value=value, source=variable
            )
    return found


def _unknown(what: str, hint: str) -> ParameterError:
    return ParameterError(f"{what} is no setting", hint=hint)
