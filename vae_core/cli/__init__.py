"""The command `vaesynth`. Importing it costs no more than click: what a command needs, it imports when it runs."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

import click

from vae_core import __version__
from vae_core.cli.inspect import list_, show, verify
from vae_core.cli.prune import prune
from vae_core.cli.run import run
from vae_core.cli.stages import evaluate, export, generate, ingest, train

INTERRUPTED = 130
# What the extra `pipeline` installs and a generation worker does without.
PIPELINE_PACKAGES = (
    "charset_normalizer", "fsspec", "jinja2", "onnx", "prefect", "safetensors", "scipy", "sklearn", "torch",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, message="vaesynth %(version)s")
def app() -> None:
    """Learn a variational autoencoder from a table and write synthetic rows to Parquet.

    Exit codes: 0 done, 1 failed, 2 bad input or usage, 3 the quality gate refused.
    """


for _command in (run, ingest, train, export, evaluate, generate, verify, show, list_, prune):
    app.add_command(_command)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit: errors are one line on stderr."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the shell has it ignored
        signal.signal(signal.SIGINT, _Interrupt())
    code = call(args)
    if "prefect" in sys.modules:
        # What there was to tell Prefect's server is told. Its own exit would wait, for half a minute at times, for one
        # that is slow or gone.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


class _Interrupt:
    """KeyboardInterrupt, but never amid an import: torch's and triton's swallow it, or make another error of it."""

    def __init__(self) -> None:
        self.again = threading.Timer(0, _thread.interrupt_main)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.again.cancel()
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                self.again = threading.Timer(0.05, _thread.interrupt_main)
                self.again.daemon = True
                self.again.start()
                return
            frame = frame.f_back
        raise KeyboardInterrupt


def call(args: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    state = {"debug": False}
    try:
        # A command's own result is no exit code; `--help` and `--version` give theirs.
        code = app.main(args, prog_name="vaesynth", standalone_mode=False, obj=state)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return error.exit_code
    except click.UsageError as error:
        help_ = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _say(f"error: {error.format_message()}{help_}", error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        said = str(error.__cause__ or error)  # a command that knows better says it; click puts its Abort around
        return _say(said or "interrupted; run the same command again to go on", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; nobody is told
        return 1
    except Exception as error:
        return _failed(error, state["debug"])


def _failed(error: Exception, debug: bool) -> int:
    from vae_core.errors import MissingDependencyError, VaesynthError

    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, VaesynthError):
        return _say(f"error: {error}", error.exit_code)
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package in PIPELINE_PACKAGES:
        line = f"error: this command needs {package}: pip install 'vaesynth[cpu]' (or 'vaesynth[gpu]' for CUDA)"
        return _say(line, MissingDependencyError.exit_code)
    hint = "" if debug else " (--debug shows where)"
    return _say(f"error: unexpected {type(error).__name__}: {error}{hint}", 1)


def _say(line: str, code: int) -> int:
    click.echo(" ".join(line.split()), err=True)
    return code
