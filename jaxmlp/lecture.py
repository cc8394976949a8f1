"""The lecture, equation by equation; the text lives in `jaxmlp.core.lecture`."""

from jaxmlp.core.lecture import *  # noqa: F403
from jaxmlp.core.lecture import __all__ as __all__
