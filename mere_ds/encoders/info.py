"""What shards and checkpoints say of their encoder; needs neither transformers nor torch."""

from dataclasses import asdict, dataclass

from mere_ds.errors import UserError


@dataclass(frozen=True)
class EncoderInfo:
    """Description of an encoder in a shard manifest and a checkpoint."""

    source: str
    """As given; a folder as its absolute path."""
    kind: str
    """"tiny", "e5-small", "folder" or "hub"."""
    revision: str | None
    """The commit on the hub, so that weights fetched later match this tokenizer."""
    weights_in_folder: bool
    """Whether the weights are in the built folder, or still in the source."""
    hidden_size: int
    vocab_size: int
    """Rows of the word embeddings, added tokens included."""
    max_length: int
    """The longest sequence that the encoder accepts, in tokens."""
    language_token_ids: dict[str, int]
    new_token_ids: list[int]
    """Tokens whose embeddings the source doesn't have."""
    seed: int
    fingerprint: str
    """Of the tokenizer."""
    weights_sha256: str | None = None
    """`weights_digest` of a folder's weights, which stay there. None otherwise: files in the built folder have digests
    in the manifest or checkpoint, and a hub's revision identifies its files."""

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "EncoderInfo":
        """The inverse of `as_dict`; UserError if another version of this package wrote the values."""
        try:
            return cls(**values)
        except TypeError as error:
            raise UserError(
                "the encoder's description was written by another version of mere-ds: run mere-ds shard again"
            ) from error
