"""transformers' `AutoConfig` and `AutoModel` find our models after `import mere_ds`, which loads neither.

transformers looks a model's type up in `CONFIG_MAPPING`. That mapping is extended as soon as its module has run: asked
for a type of ours it imports `mere_ds.model.loading`, which registers our classes.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

MODEL_TYPES = ("mere", "herberta")
_MODULE = "transformers.models.auto.configuration_auto"


def make_known() -> None:
    """Now if transformers' module is loaded, else when it is."""
    if loaded := sys.modules.get(_MODULE):
        _extend(loaded)
    else:
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the one module as Python does, and extends it once it has run."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == _MODULE else None
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            _extend(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _extend(module: ModuleType) -> None:
    mapping = module.CONFIG_MAPPING

    class Extended(type(mapping)):  # type: ignore[misc]
        def __contains__(self, model_type: object) -> bool:
            if model_type in MODEL_TYPES:
                import_module("mere_ds.model.loading")
            return super().__contains__(model_type)

    mapping.__class__ = Extended
