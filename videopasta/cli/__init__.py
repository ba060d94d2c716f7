"""The command line. Each command parses, builds, runs, and says what happened; the work is elsewhere."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.table import Table

from videopasta.cli import align, cluster, demo, evaluate, exchange, pairs, report, review, serve
from videopasta.cli.dashboards import app as dashboards_app
from videopasta.cli.options import console
from videopasta.errors import UserError
from videopasta.tiny.cli import app as tiny_app

app = typer.Typer(
    help="Preference pairs from videos, and a better Video-LLM from the pairs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_COMMANDS = (
    pairs.generate, pairs.inspect, pairs.audit, report.report, report.publish, review.review, exchange.refilter,
    exchange.export, align.train, align.infer, align.align, evaluate.questions, evaluate.evaluate, evaluate.compare,
    evaluate.ablate, serve.serve, demo.demo, cluster.calibrate, cluster.plan,
)  # fmt: skip
for _command in _COMMANDS:
    app.command()(_command)
app.command("import")(exchange.import_)
app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
)(cluster.submit)
app.add_typer(tiny_app, name="tiny")
app.add_typer(dashboards_app, name="dashboards")
_INTERRUPTED = 130  # what typer makes of Ctrl-C: it lets no KeyboardInterrupt through
_TERMINATED = 128 + signal.SIGTERM


@app.command()
def doctor() -> None:
    """Say what is installed, which engine and decoders will run, and how to mend what is wrong."""
    from videopasta.doctor import examine

    table = Table("", "what", "found", "fix")
    findings = examine()
    for finding in findings:
        table.add_row("ok" if finding.ok else "!!", finding.what, finding.found, "" if finding.ok else finding.fix)
    console.print(table)
    if not all(finding.ok for finding in findings if finding.needed):
        raise typer.Exit(1)


@contextmanager
def _errors_for_people() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        Console(stderr=True).print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
    except SystemExit as end:
        # Ray's driver answers SIGTERM, a job's stop or a machine's notice, by exiting with the signal's number.
        if end.code not in (_INTERRUPTED, signal.SIGTERM):
            raise
        word, code = ("Interrupted", end.code) if end.code == _INTERRUPTED else ("Terminated", _TERMINATED)
        Console(stderr=True).print(f"{word}. What was committed stays; run the same command to continue.")
        sys.exit(code)


def main() -> None:
    """The console script `videopasta`."""
    with _errors_for_people():
        app(standalone_mode=True)
