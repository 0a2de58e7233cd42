"""What all three models of the speed comparison share: sentences and starting weights.

The sentences are a synthetic corpus in 14 languages, the encoder a BERT of mBERT's sizes with random weights: speed
doesn't depend on their values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from transformers import BertConfig, BertModel

from mere_ds.corpus.reading import read_file, split_files
from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.encoders.sources import TinySize, build_encoder, load_encoder, load_tokenizer
from mere_ds.encoders.tokens import save_tokenizer
from mere_ds.encoders.weights import save_model
from mere_ds.files import write_json
from mere_ds.model.configuration import MereConfig
from mere_ds.model.mere import MereModel
from mere_ds.runs.resume import DATA
from mere_ds.shards.batch import Batch
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import ShardReader
from mere_ds.shards.writing import shard_corpus
from mere_ds.sums import STATE, write_sums


class Sentence(TypedDict):
    """A tokenised sentence as plain Python values, as a Hugging Face dataset would give it."""

    input_ids: list[int]
    """`[CLS] [xx] w ... w [SEP]`, not padded."""
    language: int
    label: int
    positions: list[int]
    """Tokens of head start, head end, tail start, tail end; ends inclusive."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of encoder and model; the defaults are mBERT's and those of the paper's section 4.2."""

    tokenizer: str = "e5-small"
    """Whose word pieces: those of `e5-small` that the corpus uses (its full set is of 100 languages, and cuts words
    about as finely as mBERT's), or `tiny`, which learns 8,000 from the corpus."""
    vocabulary: int = 119_547
    """Rows of the word embeddings, at least; the tokenizer may use fewer."""
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    dropout: float = 0.1
    submodule_layers: tuple[int, ...] = (1, 1, 1, 2, 2, 2)
    bottleneck: int = 1024
    top_k: int = 3
    max_length: int = 256


@dataclass(frozen=True)
class Material:
    """Shards and the model that starts on them; made by `make_material`."""

    shards: Path
    """Their folder, which `mere_ds/train.py` could train on as well."""
    manifest: Manifest
    sizes: Sizes
    seed: int
    grown: tuple[int, int] | None = None
    """Numbers of languages and labels of the model, where they are not those of the shards."""

    def model(self, stage: int = 1) -> MereModel:
        """A fresh model, fp32, at the start of stage 1 or 2: always of the same weights."""
        m, sizes = self.manifest, self.sizes
        languages, labels, mask, ids = m.languages, m.labels, m.label_mask, m.encoder.language_token_ids
        language_token_ids = [ids[language] for language in languages]
        if self.grown:
            languages = [*languages, *(f"language{i}" for i in range(self.grown[0] - len(languages)))]
            labels = [*labels, *(f"relation{i}" for i in range(self.grown[1] - len(labels)))]
            mask = [[1] * len(labels) for _ in languages]
            language_token_ids = (language_token_ids * len(languages))[: len(languages)]
        config = MereConfig(
            languages=languages,
            labels=labels,
            label_mask=mask,
            language_token_ids=language_token_ids,
            triples=m.triples,
            max_length=m.max_length,
            submodule_layers=list(sizes.submodule_layers),
            bottleneck=sizes.bottleneck,
            top_k=sizes.top_k,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = MereModel.from_encoder(load_encoder(m.encoder_folder, m.encoder), config)
            if stage == 2:
                model.begin_stage_two()
                with torch.no_grad():  # as after some training: a fresh switcher is the identity
                    for name, parameter in model.switcher.named_parameters():
                        if name.endswith("down_GbD"):
                            parameter.normal_(std=model.config.initializer_range)
        return model

    def checkpoint(self, folder: Path) -> MereModel:
        """Saves the model of stage 2 as training does; returns it."""
        model = self.model(2)
        model.save_pretrained(folder)
        save_tokenizer(load_tokenizer(self.manifest.encoder_folder), folder)
        ingredients = {"--system": "mERE", "--seed": self.seed, DATA: "0" * 64}
        write_json(folder / STATE, {"stage": 2, "step": 1, "finished": True, "ingredients": ingredients})
        write_sums(folder)
        return model

    def batches(self, count: int, batch_size: int, concatenate: int = 1, split: str = "train") -> list[Batch]:
        """The first `count` batches of our own plan, or all that are whole if there are fewer.

        Shuffled for train, in the shards' order for dev and test.
        """
        m = self.manifest
        plan = EpochPlan(
            m.index_of(split),
            batch_size,
            concatenate=concatenate,
            seed=self.seed,
            shuffle=split == "train",
        )
        whole = plan.sentences // batch_size
        with ShardReader(m, split, plan, micro=batch_size) as reader:
            return list(islice(reader, min(count, whole)))

    def lengths(self, split: str = "train") -> dict[str, float]:
        """Tokens a sentence: mean, p50, p90, p99."""
        lengths = self.manifest.lengths(split)
        percentiles = {f"p{p}": float(np.percentile(lengths, p)) for p in (50, 90, 99)}
        return {"mean": float(lengths.mean())} | percentiles


def make_material(folder: str | Path, sentences: int = 20_000, sizes: Sizes = Sizes(), seed: int = 1) -> Material:  # noqa: B008 (frozen)
    """Writes corpus, encoder and shards below `folder`; the same arguments give the same material.

    Raises UserError where `sentences` is too few for 14 languages, and where `e5-small` isn't installed.
    """
    folder = Path(folder)
    synthesize(folder / "corpus", sentences, seed=seed, quirks=False)
    _build_encoder(folder / "encoder", folder / "corpus", sizes, seed)
    shards = folder / "shards"
    manifest = shard_corpus(
        folder / "corpus", shards, encoder=str(folder / "encoder"), max_length=sizes.max_length, seed=seed
    )
    return Material(shards, manifest, sizes, seed)


def sentences_of(batches: list[Batch]) -> list[Sentence]:
    """The sentences of our batches, in order and without padding: what the rivals are given."""
    return [sentence for batch in batches for sentence in _sentences(batch)]


def _sentences(batch: Batch) -> Iterator[Sentence]:
    for i, length in enumerate(batch.mask_BM.sum(dim=1).tolist()):
        yield Sentence(
            input_ids=batch.token_ids_BM[i, :length].tolist(),
            language=int(batch.languages_B[i]),
            label=int(batch.labels_T[i]),
            positions=batch.positions_T4[i].tolist(),
        )


def _build_encoder(folder: Path, corpus: Path, sizes: Sizes, seed: int) -> None:
    """The tokenizer asked for, with a random BERT of the sizes asked for in place of its own model."""
    files = split_files(corpus)
    build_encoder(
        sizes.tokenizer,
        folder,
        lambda: (example.text for file in files for example in read_file(file.path)),
        list(dict.fromkeys(file.language for file in files)),
        seed,
        prune_vocabulary=sizes.tokenizer == "e5-small",
        tiny=TinySize(),
    )
    tokenizer = load_tokenizer(folder)
    config = BertConfig(
        architectures=["BertModel"],
        vocab_size=max(sizes.vocabulary, len(tokenizer)),
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.feed_forward,
        hidden_dropout_prob=sizes.dropout,
        attention_probs_dropout_prob=sizes.dropout,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_model(folder, config, BertModel(config).state_dict())
