"""The comparisons with Triton's kernels, run by its interpreter: needs TRITON_INTERPRET=1 from the start."""

import torch

from mere_ds.fused import triton_kernels
from mere_ds.fused.choice import implementation, set_choice
from tests.fused.comparison import ROUNDING, compare_all

set_choice("triton")
ROUNDING[torch.bfloat16] = 2**-7  # the interpreter cuts off the bits that a GPU rounds to the nearest
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    assert implementation(torch.zeros(1, dtype=dtype)) is triton_kernels
    compare_all(dtype)
