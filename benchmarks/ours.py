"""Our own training step as `mere_ds/train.py` runs it: DeepSpeed's engine, the shard reader, the stage's trainer."""

import time
from contextlib import ExitStack, nullcontext
from itertools import islice
from pathlib import Path

import torch

from benchmarks.material import Material
from mere_ds.config import TrainConfig
from mere_ds.ranks.stop import StopSignals
from mere_ds.shards.reading import ShardReader
from mere_ds.training.engine import Trainee
from mere_ds.training.feature_cache import features_of
from mere_ds.training.loop import Progress
from mere_ds.training.session import open_session
from mere_ds.training.stage_trainer import StageTrainer

CONFIGS = Path(__file__).resolve().parents[1] / "ds_configs"
CONFIG = {
    ("cpu", "fp32"): "cpu.json",
    ("cpu", "bf16"): "cpu_bf16.json",
    ("cuda", "bf16"): "a100_h100.json",
    ("cuda", "fp16"): "v100.json",
}


class OurTraining:
    """One stage on one rank, to be used as a context; `steps` trains on the first batches of the first epoch."""

    def __init__(self, material: Material, folder: Path, stage: int, batch: int, precision: str, **knobs):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        usual = {"deepspeed_config": str(CONFIGS / CONFIG[device, precision]), "batch_size": batch}
        self.config = TrainConfig(
            shards=str(material.shards), run=str(folder / f"run{stage}"), seed=material.seed, **(usual | knobs)
        )
        self.material, self.stage, self.precision = material, stage, precision
        self.seconds_of_features = 0.0
        """What computing the frozen part once has taken, before stage two's first step."""

    def __enter__(self) -> "OurTraining":
        m, stage = self.material, self.stage
        self._stack = ExitStack()
        session = self._stack.enter_context(open_session(self.config, frozenset(), StopSignals()))
        model = m.model(stage).to(session.device)
        started = time.perf_counter()
        features = features_of(session, model, m.manifest, ["benchmark"], self.precision) if stage == 2 else None
        features = self._stack.enter_context(features or nullcontext({}))
        self.seconds_of_features = time.perf_counter() - started
        trainee = Trainee(model, 3e-5, session)
        self.trainer = StageTrainer(session, stage, trainee, m.manifest, Progress(), {}, features)
        trainee.engine.train()
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    def steps(self, count: int) -> None:
        """`count` updates, reading included; every call takes the same sentences."""
        trainer = self.trainer
        reader = ShardReader(
            self.material.manifest, "train", trainer._plan(0), micro=self.config.batch_size,
            features=trainer.features.get("train"),
        )  # fmt: skip
        with reader:
            for batch in islice(reader, count):
                trainer._update([batch])
