"""What `mere-ds pretrain-mtmb` is told."""

from dataclasses import asdict, dataclass

from mere_ds.errors import UserError
from mere_ds.knobs import check_bounds, knob

DECIDES_NOTHING = ("tsv_dir", "out", "save_steps", "log_every", "overwrite")
"""May change between an interruption and going on; the corpus' content is compared by itself."""


@dataclass(frozen=True)
class PretrainSettings:
    """Every knob with its bounds; UserError for a value beyond them. Meanings and defaults stand with the command."""

    tsv_dir: str = knob()
    out: str = knob()
    encoder: str = knob()
    languages: str = knob()
    english: str = knob()
    cut_marks: str = knob()
    parallel_ids: bool = knob()
    epochs: int = knob(least=1)
    steps: int | None = knob(least=1)
    batch_size: int = knob(least=4)
    learning_rate: float = knob(above=0, most=10**6)
    warmup: float = knob(least=0, below=1)
    weight_decay: float = knob(least=0, most=10**6)
    max_length: int = knob(least=1)
    blank: float = knob(least=0, most=1)
    mask: float = knob(least=0, most=1)
    seed: int = knob(least=0, most=2**63 - 1)
    save_steps: int = knob(least=1)
    log_every: int = knob(least=1)
    overwrite: bool = knob()

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.batch_size % 2:
            raise UserError(f"--batch_size={self.batch_size}: must be even, for sentences are read in pairs")

    def deciding(self) -> dict:
        """The knobs that decide the result, with their values."""
        return {name: value for name, value in asdict(self).items() if name not in DECIDES_NOTHING}
