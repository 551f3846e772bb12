"""The table of faults: put in, caught by whom, in how many seconds.

A pytest plugin, for `make faults`.

It fails the run if a fault of the catalogue was not caught, or has no test.
"""

from dataclasses import dataclass

import pytest

from tests.faults.catalogue import FAULTS

WIDTH = 80
_CODE, _FAULT, _BY = 4, 36, 32
SURVIVED, MISSING = "SURVIVED", "NO TEST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault: who caught it (empty if nobody did), and how long it took."""

    code: str
    by: tuple[str, ...]
    seconds: float


def lines(rows: dict[str, Row], catalogue: dict[str, str] = FAULTS) -> list[str]:
    """Write the table, one line a fault and more where several catch it."""
    out = [_line("", "fault", "caught by", "s"), "-" * WIDTH]
    for code, text in catalogue.items():
        row = rows.get(code)
        by = (MISSING,) if row is None else row.by or (SURVIVED,)
        seconds = "" if row is None else f"{row.seconds:.1f}"
        out.append(_line(code, text, by[0], seconds))
        out += [_line("", "", other, "") for other in by[1:]]
    caught = len(catalogue) - len(survivors(rows, catalogue))
    total = sum(row.seconds for row in rows.values())
    out += ["-" * WIDTH, f"{caught} of {len(catalogue)} faults caught; {total:.0f} s"]
    return out


def survivors(
    rows: dict[str, Row], catalogue: dict[str, str] = FAULTS
) -> tuple[str, ...]:
    """Return the codes that nobody caught or that no test puts in."""
    return tuple(c for c in catalogue if c not in rows or not rows[c].by)


def _line(code: str, text: str, by: str, seconds: str) -> str:
    cut = by if len(by) <= _BY else by[: _BY - 1] + "…"
    return f"{code:<{_CODE}} {text:<{_FAULT}} {cut:<{_BY}} {seconds:>5}".rstrip()


class Collector:
    """Gathers one row a marked test while pytest runs."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._codes: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Remember which test is for which fault; two for one is a mistake."""
        for item in items:
            marker = item.get_closest_marker("fault")
            if marker is not None:
                code = marker.args[0]
                if code in self._codes.values():
                    raise pytest.UsageError(f"fault {code} has two tests")
                self._codes[item.nodeid] = code

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the time of each part; only a test that passes whole has caught."""
        code = self._codes.get(report.nodeid)
        if code is None:
            return
        told = dict(report.user_properties).get("caught", ())
        before = self.rows.get(code, Row(code=code, by=(), seconds=0.0))
        by = told if report.when == "teardown" and before.by != ("",) else before.by
        if not report.passed:
            by = ("",)
        self.rows[code] = Row(
            code=code, by=by, seconds=before.seconds + report.duration
        )

    def finished(self) -> dict[str, Row]:
        """Return the rows, with nobody in place of the mark of a failure."""
        return {
            code: Row(
                code=code, by=row.by if row.by != ("",) else (), seconds=row.seconds
            )
            for code, row in self.rows.items()
        }


_COLLECTOR = pytest.StashKey[Collector]()


def pytest_configure(config: pytest.Config) -> None:
    """Listen to the whole run."""
    collector = Collector()
    config.stash[_COLLECTOR] = collector
    config.pluginmanager.register(collector)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the run fail if a fault survived."""
    rows = session.config.stash[_COLLECTOR].finished()
    if survivors(rows) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table last."""
    terminalreporter.write_line("")
    for line in lines(config.stash[_COLLECTOR].finished()):
        terminalreporter.write_line(line)
