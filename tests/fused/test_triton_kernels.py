"""Without a GPU: the kernels' results in Triton's interpreter, and that they compile for the cards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="Triton has no wheels for this platform")

import torch  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from mere_ds.fused import triton_kernels  # noqa: E402
from mere_ds.fused.choice import implementation  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_kernels_agree_with_plain_pytorch():
    """In a process of its own: the interpreter is chosen when Triton is imported, and for good."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.fused.interpreted"],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


CONSTANTS = {"stretch": 16, "rows": 4, "block": 1024, "G": 3, "epsilon": 1e-5}
FP32 = ("logits", "d_logits", "d_relation", "d_index", "f", "mean", "rstd", "products", "sums")


def source(kernel, dtype: str) -> ASTSource:
    """The kernel as a model of that dtype calls it."""
    signature = {}
    for name in kernel.arg_names:
        if name in CONSTANTS:
            signature[name] = "constexpr"
        elif name.endswith("_ptr"):
            signature[name] = "*fp32" if name.removesuffix("_ptr") in FP32 else f"*{dtype}"
        else:
            signature[name] = "i32"
    return ASTSource(kernel, signature, {name: value for name, value in CONSTANTS.items() if name in signature})


@pytest.mark.parametrize("name", ["position_logits_forward", "position_logits_backward", "mix_forward", "mix_backward"])
@pytest.mark.parametrize(("capability", "dtype"), [(70, "fp16"), (70, "fp32"), (80, "bf16"), (90, "bf16")])
def test_kernels_compile_for_volta_ampere_and_hopper(capability, dtype, name, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_kernels, f"{name}_kernel")
    compiled = triton.compile(source(kernel, dtype), target=GPUTarget("cuda", capability, 32))
    assert f".target sm_{capability}" in compiled.asm["ptx"]
    assert len(compiled.asm["cubin"]) > 0
    assert "mma" not in compiled.asm["ptx"] and "atom" not in compiled.asm["ptx"]


def test_float64_stays_with_plain_pytorch():
    assert implementation(torch.zeros(1, dtype=torch.float64)).__name__ == "mere_ds.fused.plain"
