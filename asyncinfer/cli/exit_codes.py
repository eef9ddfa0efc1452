"""The exit codes of the commands, and the message for the error that ends a command."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable

from asyncinfer.cli.closed_output import OUTPUT_CLOSED, is_output_closed
from asyncinfer.cli.messages import say, say_error
from asyncinfer.errors import AsyncInferError, ConfigError, InputError
from asyncinfer.types.run_errors import RunInterruptedError, SpendingLimitError

# Rows or questions have no answer, a wrong configuration or input, an error of the run, a limit on cost or tokens, an
# interrupted run.
SOME_FAILED, CONFIG_ERROR, RUN_ERROR, LIMIT_REACHED, INTERRUPTED = 1, 2, 3, 4, 130


def exit_code(command: Callable[[], int], *, verbose: bool) -> int:
    """Run a command, flush stdout, and return the exit code. An exception is shown as a message."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except (ConfigError, InputError) as error:
        return _report(error, CONFIG_ERROR, verbose=verbose)
    except SpendingLimitError as error:
        return _report(error, LIMIT_REACHED, verbose=verbose)
    except RunInterruptedError as error:
        from asyncinfer.cli.display import summary_fields

        return _report(error, INTERRUPTED, verbose=verbose, summary=summary_fields(error.summary))
    except AsyncInferError as error:
        return _report(error, RUN_ERROR, verbose=verbose)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except Exception as error:
        if is_output_closed(error):
            return OUTPUT_CLOSED
        return _report(f"{type(error).__name__}: {error}", RUN_ERROR, verbose=verbose)


def _report(error: object, code: int, *, verbose: bool, **fields: object) -> int:
    if verbose:
        say(traceback.format_exc().rstrip())
    kind = {"error": type(error).__name__} if isinstance(error, Exception) else {}
    say_error(str(error), **kind, exit_code=code, **fields)
    return code
