"""Commands that accept every setting by its dotted path, such as `--generation.seed 7`, besides their options."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from asyncinfer.config.overrides import names_setting


class DottedPathsCommand(TyperCommand):
    """Passes settings on as they are. Their values may begin with a dash, which Typer would take for an option."""

    allow_extra_args = ignore_unknown_options = True

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        takes_value = {
            name: not getattr(option, "is_flag", False)
            for option in self.get_params(ctx)
            if option.param_type_name == "option"
            for name in (*option.opts, *option.secondary_opts)
        }
        return super().parse_args(ctx, joined_settings(args, takes_value))


def joined_settings(args: list[str], options: dict[str, bool]) -> list[str]:
    """The arguments, with each setting and its value as one argument: `--dotted.path=value`.

    Args:
        options: The options of the command, and whether each takes a value.
    """
    joined = list[str]()
    remaining = list(args)
    while remaining:
        argument = remaining.pop(0)
        if argument == "--":  # Only arguments without a name follow.
            return [*joined, argument, *remaining]
        if _is_option(argument, options):
            joined.append(argument)
            if _needs_next(argument, options) and remaining:
                joined.append(remaining.pop(0))
        elif names_setting(argument) and "=" not in argument and remaining and _is_value(remaining[0], options):
            joined.append(f"{argument}={remaining.pop(0)}")
        else:
            joined.append(argument)
    return joined


def _is_value(argument: str, options: dict[str, bool]) -> bool:
    return argument != "--" and not names_setting(argument) and not _is_option(argument, options)


def _is_option(argument: str, options: dict[str, bool]) -> bool:
    """Whether an argument is an option of the command, or several in one such as `-iv`, perhaps with a value."""
    if not argument.startswith("-") or argument == "-":
        return False
    if argument.startswith("--"):
        return argument.partition("=")[0] in options
    for letter in argument[1:]:
        takes_value = options.get(f"-{letter}")
        if takes_value is None:
            return False
        if takes_value:  # The rest is its value.
            return True
    return True


def _needs_next(argument: str, options: dict[str, bool]) -> bool:
    """Whether the value of an option is the next argument."""
    if argument.startswith("--"):
        return "=" not in argument and options[argument]
    first = next((place for place, letter in enumerate(argument[1:], 1) if options[f"-{letter}"]), None)
    return first == len(argument) - 1
