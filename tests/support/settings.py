"""Settings with some values changed."""

import dataclasses


def changed(cfg, section, **values):
    return dataclasses.replace(cfg, **{section: dataclasses.replace(getattr(cfg, section), **values)})
