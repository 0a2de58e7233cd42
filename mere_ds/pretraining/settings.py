"""What `mere-ds pretrain-mtmb` is told."""

from dataclasses import asdict, dataclass

from mere_ds.errors import UserError

POSITIVE = ("epochs", "learning_rate", "save_steps", "log_every")
DECIDES_NOTHING = ("tsv_dir", "out", "save_steps", "log_every", "overwrite")
"""May change between an interruption and going on; the corpus' content is compared by itself."""


@dataclass(frozen=True)
class PretrainSettings:
    """Every knob; UserError for a value out of range. Meanings and defaults stand with the command."""

    tsv_dir: str
    out: str
    encoder: str
    languages: str
    english: str
    cut_marks: str
    parallel_ids: bool
    epochs: int
    steps: int | None
    batch_size: int
    learning_rate: float
    warmup: float
    weight_decay: float
    max_length: int
    blank: float
    mask: float
    seed: int
    save_steps: int
    log_every: int
    overwrite: bool

    def __post_init__(self) -> None:
        for name in POSITIVE:
            if getattr(self, name) <= 0:
                raise UserError(f"--{name}={getattr(self, name)}: more than 0 is wanted")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"--steps={self.steps}: more than 0 is wanted, or None for whole epochs")
        if self.batch_size < 4 or self.batch_size % 2:
            raise UserError(
                f"--batch_size={self.batch_size}: an even number from 4 on is wanted, for pairs of sentences"
            )
        for name in ("blank", "mask"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"--{name}={getattr(self, name)}: a share from 0 to 1 is wanted")
        if not 0 <= self.warmup < 1:
            raise UserError(f"--warmup={self.warmup}: a share from 0 to below 1 is wanted")
        if min(self.seed, self.weight_decay) < 0:
            raise UserError("--seed and --weight_decay must not be negative")

    def deciding(self) -> dict:
        """The knobs that decide the result, with their values."""
        return {name: value for name, value in asdict(self).items() if name not in DECIDES_NOTHING}
