"""mERE: multilingual joint entity and relation extraction, trained in two stages with DeepSpeed."""

__version__ = "0.1.0"
