"""The three that are compared, each in a process of its own: what one does in a round of each task.

A task is a generator: it gets ready and warms up, then measures a round each time it is asked for one.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from benchmarks.machine import point_links
from benchmarks.material import Material, Sentence, Sizes, sentences_of
from benchmarks.ours import OurTraining
from benchmarks.rivals import hf, literal
from benchmarks.work import encoder_flops, stage_flops
from mere_ds.model.packing import pack
from mere_ds.model.precision import DTYPES
from mere_ds.model.use import load_for_use
from mere_ds.shards.batch import Batch
from mere_ds.shards.manifest import Manifest

K, EVALUATION_BATCH = 3, 64
LITERAL_STEPS = 1  # of a round: it takes long, and all its batches the same time


@dataclass
class Task:
    """What a side is told; the fields but `side` and `name` are the same for all three."""

    side: str
    name: str
    folder: str
    sizes: Sizes
    seed: int
    precision: str
    batch: int
    steps: int
    """Batches of a round of ours and hf's, the same ones."""
    compile: bool = False
    """Whether our stages run with --compile."""
    embedding_rows: str = "all"
    """Of our stage one."""

    def rounds(self) -> Iterator[dict]:
        """`{"rate": sentences a second, ...}` of a round after another."""
        kind = "stage" if self.name.startswith("stage") else "part" if self.name in ("heads", "switcher") else self.name
        return getattr(self, f"_{self.side}_{kind}" if kind == "stage" else f"_{kind}")()

    @cached_property
    def material(self) -> Material:
        shards = Path(self.folder) / "shards"
        return Material(shards, Manifest.load(shards), self.sizes, self.seed)

    @cached_property
    def device(self) -> torch.device:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def stage(self) -> int:
        return int(self.name[-1])

    @property
    def s(self) -> int:
        """Sentences that LA concatenates."""
        return 2 if self.name == "stage1" else 1

    @property
    def pad_id(self) -> int:
        return self.material.manifest.pad_id

    def _sentences(self) -> tuple[list[Batch], list[Sentence]]:
        batches = self.material.batches(self.steps, self.batch, concatenate=self.s)
        return batches, sentences_of(batches)

    def _ours_stage(self) -> Iterator[dict]:
        """Stage two reads the features of its frozen part, as from its second epoch on."""
        batches, sentences = self._sentences()
        flops = stage_flops(self.material.model(self.stage), batches, self.stage, self.s)
        knobs = {"compile": self.compile} | ({"embedding_rows": self.embedding_rows} if self.stage == 1 else {})
        with OurTraining(self.material, Path(self.folder), self.stage, self.batch, self.precision, **knobs) as ours:
            ours.steps(self.steps if self.compile else min(3, self.steps))  # all compiling is over before it counts
            while True:
                seconds = self._timed(lambda: ours.steps(self.steps))
                features = {"seconds of features": ours.seconds_of_features} if self.stage == 2 else {}
                told = {"rate": len(sentences) / seconds, "flops": flops / seconds}
                yield told | features | {"work": lambda: ours.steps(3)}

    def _literal_stage(self) -> Iterator[dict]:
        _, sentences = self._sentences()
        model = self._literal(self.stage).train()
        optimizer = literal.make_optimizer(model)

        def step(i: int) -> None:
            batch = literal.padded(sentences[i * self.batch : (i + 1) * self.batch], self.pad_id)
            literal.train_step(model, optimizer, self._moved(batch), self.s)

        step(0)
        while True:
            yield {"rate": LITERAL_STEPS * self.batch / self._timed(lambda: [step(i) for i in range(LITERAL_STEPS)])}

    def _hf_stage(self) -> Iterator[dict]:
        _, sentences = self._sentences()
        start = self._literal(self.stage)
        while True:  # the Trainer leaves its autocast on a model
            seconds = hf.train_hf(
                copy.deepcopy(start), sentences, self.pad_id, self.batch, self.steps, self.s,
                bf16=self.precision == "bf16", warmup=2,
            )  # fmt: skip
            yield {"rate": len(sentences) / sum(seconds)}

    def _evaluate(self) -> Iterator[dict]:
        """Prediction in batches of like length, which is more than the Trainer would do for hf; ours by the model that
        `mere-ds evaluate` uses."""
        batches = self.material.batches(4, EVALUATION_BATCH)
        model = self.material.model(2)
        flops = encoder_flops(model, batches) + stage_flops(model, batches, 2, 1, k=K, training=False)
        if self.side == "ours":
            checkpoint = Path(self.folder) / "checkpoint"
            self.material.checkpoint(checkpoint)
            model = load_for_use(checkpoint, self.precision)
            pack(model)
            calls = [self._our_prediction(model, batch) for batch in batches]
        else:
            model = self._literal(2).eval()
            pad = literal.padded if self.side == "literal" else hf.padded_to_longest
            half = self.side == "hf" and self.precision == "bf16"
            groups = [sentences_of([batch]) for batch in batches[: 1 if self.side == "literal" else None]]
            calls = [
                lambda g=group: literal.predict(model, self._moved(pad(g, self.pad_id)), K, half) for group in groups
            ]
        calls[0]()
        while True:
            seconds = self._timed(lambda: [call() for call in calls])
            yield {"rate": len(calls) * EVALUATION_BATCH / seconds, "flops": flops / seconds}

    def _our_prediction(self, model, batch: Batch) -> Callable:
        @torch.no_grad()
        def predict():
            b = batch.to(self.device)
            return model(b.token_ids_BM, b.mask_BM, b.languages_B, k=K)

        return predict

    def _part(self) -> Iterator[dict]:
        """Heads or LS alone, forward and backward, all three in our precision and each at its own padded width."""
        (batch,) = self.material.batches(1, self.batch)
        sentences = sentences_of([batch])
        model = self.material.model(2) if self.side == "ours" else self._literal(2)
        part = getattr(model.to(self.device, DTYPES[self.precision]), self.name)
        pad = {"literal": literal.padded, "hf": hf.padded_to_longest}.get(self.side)
        mask_BM = batch.mask_BM if pad is None else pad(sentences, self.pad_id)["mask_BM"]
        D, T = self.sizes.hidden, len(self.sizes.submodule_layers)
        h_BMD = torch.randn(*mask_BM.shape, D, device=self.device, dtype=DTYPES[self.precision])
        batch = batch.to(self.device)
        rest = (mask_BM.to(self.device), batch.labels_T) if self.name == "heads" else (batch.languages_B, T)
        repeats = 3
        literal.forward_backward(part, h_BMD, *rest)
        while True:
            seconds = self._timed(lambda: [literal.forward_backward(part, h_BMD, *rest) for _ in range(repeats)])
            yield {"rate": repeats * self.batch / seconds, "width": mask_BM.shape[1]}

    def _literal(self, stage: int) -> literal.LiteralMere:
        model = self.material.model(stage)
        return literal.LiteralMere(model.config).load_ours(model).to(self.device)

    def _moved(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.to(self.device) for name, value in batch.items()}

    def _timed(self, work: Callable[[], object]) -> float:
        point_links(self.device)
        started = time.perf_counter()
        work()
        point_links(self.device)
        return time.perf_counter() - started
