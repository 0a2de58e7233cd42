"""transformers' `AutoConfig` and `AutoModel` find our models after `import mere_ds`, which loads neither.

transformers looks a model's type up in `CONFIG_MAPPING`. That mapping is extended as soon as its module has run: asked
for a type of ours it imports `mere_ds.model.loading`, which registers our classes.
"""

from importlib import import_module
from types import ModuleType

from mere_ds.import_hooks import once_loaded

MODEL_TYPES = ("mere", "herberta")


def make_known() -> None:
    """Now if transformers' module is loaded, else when it is."""
    once_loaded("transformers.models.auto.configuration_auto", _extend)


def _extend(module: ModuleType) -> None:
    mapping = module.CONFIG_MAPPING

    class Extended(type(mapping)):  # type: ignore[misc]
        def __contains__(self, model_type: object) -> bool:
            if model_type in MODEL_TYPES:
                import_module("mere_ds.model.loading")
            return super().__contains__(model_type)

    mapping.__class__ = Extended
