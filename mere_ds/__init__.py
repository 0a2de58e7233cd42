"""mERE: multilingual joint entity and relation extraction, trained in two stages with DeepSpeed.

`mere_ds.load(...)` gives a trained model to use; see `mere_ds.api`. Importing this package loads no library.
"""

from typing import TYPE_CHECKING, Any

from mere_ds.auto_classes import make_known
from mere_ds.errors import MachineError, UserError

if TYPE_CHECKING:
    from mere_ds.api import Model, Span, Triple, Triples, load

__version__ = "0.1.0"
__all__ = ["MachineError", "Model", "Span", "Triple", "Triples", "UserError", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from mere_ds import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


make_known()
