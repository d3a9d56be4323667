"""Settings with some values changed."""

import dataclasses


def changed(cfg, section="cluster", **values):
    return dataclasses.replace(cfg, **{section: dataclasses.replace(getattr(cfg, section), **values)})
