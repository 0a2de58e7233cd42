"""The command `mere-ds export`."""

import sys
from typing import Literal

from mere_ds.config import Which
from mere_ds.errors import UserError


def export(
    run: str,
    out: str,
    *,
    which: Which = "best",
    to: Literal["safetensors", "onnx"] = "safetensors",
    precision: Literal["fp32", "bf16", "fp16"] | None = None,
    int8: bool = False,
    license: str | None = None,
    datasets: tuple[str, ...] = (),
    overwrite: bool = False,
) -> None:
    """Write a folder with what is needed to use a run's model, and no more: ready to copy or to upload.

    OUT gets weights, config.json, tokenizer, calibration, digests (SHA256SUMS), and README.md: a model card with
    languages, relations, scores by language with intervals, training data, knobs and limits, whose front matter the
    Hugging Face hub reads. Scores are those of mere-ds evaluate, so run it before. mere-ds extract and mere_ds.load
    take OUT as they take RUN, and its fp32 weights give the same answers.

    With --to=onnx the model is written as ONNX graphs, which need no torch: pip install 'mere-ds[runtime]' is enough to
    use OUT. Every export is compared with torch before OUT appears.

    An exported model with weights (not ONNX) can be exported again, to another format; its new card lacks what only the
    run says, which a note tells.

    Examples:
        mere-ds export runs/a my-model --license=cc-by-sa-4.0
        mere-ds export runs/a my-model --to=onnx --int8
        mere-ds export runs/a my-model --precision=bf16 --overwrite
        mere-ds export my-model light-model --to=onnx
        hf upload me/my-model my-model

    Args:
        run: Run folder, the folder of a checkpoint or of an exported model with weights, or hf://org/name on the hub.
        out: Folder for the model; its name is the model's in the card.
        which: The best or the latest model of the last stage; stage1: the best model of stage one, without stage two.
        to: safetensors: weights for torch. onnx: graphs for onnxruntime, on CPUs.
        precision: Number format of safetensors' weights, fp32 by default; 16 bits are half the size, and rounded.
        int8: With --to=onnx: weights and products of 8 bits. A quarter of the size and faster, but rounded: the card
            says by how much the scores on dev fall.
        license: Id of the model's licence on the hub, such as apache-2.0 (None: the card says that it is unknown).
        datasets: Ids of the training data on the hub, for the card.
        overwrite: Replace OUT if it is an exported model.
    """
    if int8 and to != "onnx":
        raise UserError("--int8: needs --to=onnx; --precision=bf16 makes safetensors smaller")
    if precision and to == "onnx":
        raise UserError(f"--precision={precision}: is of --to=safetensors: remove it, or pass --int8")
    from mere_ds.exporting.making import export_model

    kept = "int8" if int8 else precision or "fp32"
    exported = export_model(run, out, which, to, kept, license, datasets, overwrite)
    for line in exported.notes:
        sys.stderr.write(f"note: {line}\n")
    for name, size in exported.files.items():
        print(f"{size:>13,}  {exported.folder / name}")
