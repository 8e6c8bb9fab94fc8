"""`freehold`: finds the command, loads only its file, and turns errors into words and exit codes.

Exit codes: 0 yes or decided; 1 a finding, or no decision; 2 misuse or invalid input.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

import click

from freehold import __version__
from freehold.kernel.errors import FreeholdError

# command → what it is for; each lives in the file of its name, and is loaded only when it is used.
COMMANDS = {
    "up": "Start Freehold: one endpoint in front of every model",
    "init": "Write what is there into a commented freehold.toml",
    "check": "Check the configuration and prove that nothing can leave its zones",
    "keys": "Create, list, rotate and revoke callers' keys",
    "people": "Say who may do what on the admin plane",
    "nodes": "Show the nodes that share keys, budgets and limits",
    "models": "List targets with zone, price and abilities",
    "chat": "Ask a running Freehold, and see how it was ruled",
    "scan": "Find secrets, identifiers and names in text",
    "audit": "Export, verify and explain what the log can prove",
    "batch": "Run files of calls, watch them, fetch what came back",
    "doctor": "Check an installation from the outside",
    "backup": "Back up the state directory, and bring it back",
    "top": "Show live calls, rates, spending and health",
    "usage": "Show calls, tokens and cost by group",
    "forecast": "Say how fast a model can be served, and what that costs",
    "verdict": "Say whether an open model is good enough for a workload",
    "prices": "Show what a token costs where, and what other prices would have made of it",
}


class Lazy(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"freehold.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, message="freehold %(version)s")
def cli() -> None:
    """Own how you use language models: one OpenAI-compatible endpoint that rules on, routes, prices and records every call."""


def main() -> None:
    """Run the command line."""
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except SystemExit as end:
        if (
            type(sys.stdout).__name__ == "PacifyFlushWrapper"
        ):  # click's, when whoever read it has gone: that is no answer
            sys.exit(141)
        raise end
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except FreeholdError as error:
        if "--json" in sys.argv:
            click.echo(json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}}))
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        click.echo(f"code: {error.code}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as bug:  # the border: a person sees a sentence, and a script an exit code that means no answer
        place = traceback.extract_tb(bug.__traceback__)[-1]
        click.echo(
            f"error: Freehold itself failed ({type(bug).__name__} in {Path(place.filename).name}, line {place.lineno}).",
            err=True,
        )
        click.echo("hint: This is a bug. Set FREEHOLD_TRACE=1 to see all of it.\ncode: bug", err=True)
        if os.environ.get("FREEHOLD_TRACE"):
            traceback.print_exception(bug)
        sys.exit(2)


if __name__ == "__main__":
    main()
