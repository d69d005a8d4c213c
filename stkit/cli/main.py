"""The command ``stkit``. Imports no torch, here or for its help."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import rich_click as click
from click.exceptions import Exit

from stkit.cli.group import LazyGroup
from stkit.cli.output import set_up_logging
from stkit.errors import StkitError, UsageError

SUMMARIES = {
    "recipe": "Train a recipe, forecast, score it, and leave a report",
    "resume": "Go on with a run that was stopped",
    "eval": "Score a run on its test part",
    "predict": "Forecast from a file with a trained run",
    "diagnose": "See inside a trained run: gates, gradients, attention, stationarity",
    "report": "Write a run's report again",
    "ablate": "Run a grid of recipes at equal budget, and tell what makes a difference",
    "compare": "Compare finished runs: better, not distinguishable or worse",
    "import": "Make a run of weights from a reference implementation",
    "bench": "Measure how fast a recipe trains and forecasts here, and compare with an earlier record",
    "runs": "List the runs of a folder",
    "list": "List recipes, architectures, cells, modules, losses, scores and datasets",
    "info": "Tell all about one of them",
    "validate": "Check a recipe",
    "advise": "Is my field stationary, how long does it remember, and what is worth trying",
    "schema": "Print the JSON schema of recipes, for editors",
    "cp": "Copy a shipped recipe, to change it",
    "plugins": "Show the plugins that were loaded, and those that were not and why",
    "new-plugin": "Write the package of a plugin of your own, to start from",
    "doctor": "Check this installation",
    "completion": "Print the shell completion script",
}
"""Every built-in command with its line in the help. Static, so that the help imports no command."""

_INTERRUPTED = 130

click.rich_click.COMMAND_GROUPS = {
    "stkit": [
        {
            "name": "Train and score",
            "commands": ["recipe", "resume", "eval", "predict", "diagnose", "report", "import", "bench", "runs"],
        },
        {"name": "Compare", "commands": ["ablate", "compare"]},
        {"name": "Choose and check", "commands": ["list", "info", "validate", "advise", "schema", "cp"]},
        {"name": "This installation", "commands": ["plugins", "new-plugin", "doctor", "completion"]},
    ]
}


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"stkit {version('stkit-torch')}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    summaries=SUMMARIES,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error (also: STKIT_DEBUG=1).")
@click.option("-v", "--verbose", is_flag=True, help="Tell more on the way.")
@click.option("-q", "--quiet", is_flag=True, help="Tell warnings and errors only.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, verbose: bool, quiet: bool) -> None:
    """Recurrent spatiotemporal forecasting: pick a recipe, train it, see how it scores.

    \b
    Examples:
        stkit list recipes
        stkit recipe predrnn-sst
        stkit recipe predrnn-sst train.steps=200 model.layers=[16,16]
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit()
    ctx.obj = {"debug": debug}
    if debug:
        os.environ["STKIT_DEBUG"] = "1"
    set_up_logging(verbose=verbose or debug, quiet=quiet)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process: 0 done, 1 the run failed, 2 usage or recipe error."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors are told as one message on stderr.

    Returns:
        The exit code.
    """
    # GNU OpenMP's threads spin for long while they wait: where another program computes, too, a step then takes many
    # times as long. A short spin costs nothing on an idle machine. Set before torch starts the threads.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    set_up_logging()  # a plugin may be skipped before the options are read
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _refuse_nul(given)
        result: object = cli.main(args=given, prog_name="stkit", standalone_mode=False)
        sys.stdout.flush()
    except Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _debugged()
        _tell("interrupted")
        return _INTERRUPTED
    except StkitError as error:
        _debugged()
        _tell(f"error: {error}")
        return error.exit_code
    except click.ClickException as error:
        _debugged()
        context = getattr(error, "ctx", None)
        hint = f"\nSee `{context.command_path} --help`." if context is not None else ""
        message = error.format_message()
        _tell(f"error: {message[:1].lower()}{message[1:]}{hint}")
        return 2
    except BrokenPipeError:
        # The reader (`| head`) has gone: nobody is left to tell. Keep the interpreter from flushing into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _debugged()
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        _tell(f"error: {reason}" + (f": {error.filename}" if error.filename else ""))
        return 1
    except Exception as error:
        _debugged()
        _tell(
            f"error: {type(error).__name__}: {error}\nThis is a fault of stkit or a plugin; STKIT_DEBUG=1 shows where."
        )
        return 1
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _refuse_nul(arguments: Sequence[str]) -> None:
    """No shell can give such an argument, but a program that calls :func:`run` can."""
    for argument in arguments:
        if "\0" in argument:
            raise UsageError(f"the argument {argument[:40]!r} has a NUL byte, which no name, path or value can have")


def _debugged() -> None:
    """Show the traceback where it is asked for."""
    if os.environ.get("STKIT_DEBUG", "") not in ("", "0"):
        import traceback

        traceback.print_exc()


def _tell(message: str) -> None:
    try:
        click.echo(message, err=True)
    except OSError:
        # stderr is closed: the exit code is all that is left to say.
        return
