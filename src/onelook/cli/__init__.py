"""The command line: one function a verb, each reads its arguments, calls the library and prints."""

import errno
import io
import os
import sys

import click

from onelook import __version__
from onelook.cli.anchors import anchors
from onelook.cli.benchmark import benchmark
from onelook.cli.classify import classify
from onelook.cli.convert import convert
from onelook.cli.data import data
from onelook.cli.detect import detect
from onelook.cli.evaluate import evaluate
from onelook.cli.info import info
from onelook.cli.models import models
from onelook.cli.segment import segment
from onelook.cli.serve import serve
from onelook.cli.train import train
from onelook.errors import Error

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """Run the command line. Exits with 2 and one line on stderr after an error the user can put right."""
    from onelook.runtime.terminal import open_closed_streams, silence_native_stderr

    open_closed_streams()
    silence_native_stderr()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name need not be UTF-8; its escapes are JSON's own
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code)
    except Error as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `onelook ... | head`
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # of stdout, on a full disk: every other one is an Error by now
        if error.errno not in FULL:
            raise
        print(f"error: stdout: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in its buffer
        sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="onelook")
def app() -> None:
    """Object detection as the papers define it, run fast on an ordinary CPU."""


for verb in (detect, classify, segment, convert, info, models, data, anchors, train, evaluate, benchmark, serve):
    app.add_command(verb)
