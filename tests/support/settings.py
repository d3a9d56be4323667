"""Settings as a command line gives them, and with some values changed."""

import dataclasses

from cac_hpc.settings import launch_command
from cac_hpc.settings.errors import InputError


def changed(cfg, section="cluster", **values):
    return dataclasses.replace(cfg, **{section: dataclasses.replace(getattr(cfg, section), **values)})


def parse(*arguments):
    return launch_command.parse_launch(None, [*map(str, arguments)])[0]


def asked(key, *arguments):
    """The value that a setting gets, or the refusal."""
    try:
        value = parse(*arguments)
    except InputError as error:
        return str(error)
    for name in key.split("."):
        value = getattr(value, name)
    return (value,)
