"""Measure the fused passes of heads and LS against memory: `python benchmarks/fused.py [--batch=256] [--tokens=48]`.

Each pass moves bytes and computes little, so what counts is the bytes that it must move a second, beside what a plain
copy moves in the same run. Where Triton runs (a GPU), it and the plain PyTorch twin take turns. Prints a table.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import Ceiling, point_links
from mere_ds import flags
from mere_ds.errors import UserError
from mere_ds.fused.choice import choose, set_choice
from mere_ds.fused.mixing import mix
from mere_ds.fused.position_logits import position_logits
from mere_ds.model.precision import DTYPES, best_precision

D = 768


def heads_pass(B: int, M: int, make: Callable) -> tuple[Callable, float]:
    """Forward and backward of eq. 9's tail, and the bytes they must move: token half twice in, its gradient out."""
    token_BM4D, relation_B4D, index_4D = make(B, M, 4, D), make(B, 4, D), make(4, D)

    def work() -> None:
        position_logits(token_BM4D, relation_B4D, index_4D).sum().backward()

    return work, 3 * token_BM4D.nbytes


def mixing_pass(B: int, M: int, make: Callable, G: int = 6) -> tuple[Callable, float]:
    """The same of eq. 7's LayerNorm and eq. 8's sum: z twice in, its gradient and the mixture out, its gradient in."""
    z_GBMD, scale_G1D, shift_G1D, f_BG = make(G, B, M, D), make(G, 1, D), make(G, 1, D), make(B, G)

    def work() -> None:
        mix(z_GBMD, scale_G1D, shift_G1D, f_BG.float()).sum().backward()

    return work, 3 * z_GBMD.nbytes + 2 * z_GBMD[0].nbytes


def main(*, batch: int = 256, tokens: int = 48, rounds: int = 7, precision: str = "auto") -> None:
    """Print the table.

    Args:
        batch: Sentences.
        tokens: Of a sentence.
        rounds: How often each is measured.
        precision: fp32, bf16, fp16, or auto: the fastest that the hardware has.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = best_precision(device) if precision == "auto" else precision
    if precision not in DTYPES:
        raise UserError(f"--precision={precision}: one of auto, {', '.join(DTYPES)} is wanted")
    ceiling = Ceiling(device, DTYPES[precision])
    choices = ["torch", "triton"] if choose("auto", device) == "triton" else ["torch"]

    def make(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device, dtype=DTYPES[precision], requires_grad=True)

    print(f"{ceiling}, {precision}, {batch} sentences of {tokens} tokens, d = {D}; minimum / median / maximum\n")
    print("| pass, forward and backward | by | ms | GB/s | of a copy's |\n|---|---|---|---|---|")
    for name, (work, moved) in {
        "heads": heads_pass(batch, tokens, make),
        "LS": mixing_pass(batch, tokens, make),
    }.items():
        seconds: dict[str, list[float]] = {choice: [] for choice in choices}
        shares: dict[str, list[float]] = {choice: [] for choice in choices}
        for turn in range(rounds + 1):
            copied = ceiling.measure_copy()
            for choice in choices:
                set_choice(choice)
                point_links(device)
                started = time.perf_counter()
                work()
                point_links(device)
                if turn:  # the first compiles and warms up
                    seconds[choice].append(time.perf_counter() - started)
                    shares[choice].append(moved / seconds[choice][-1] / copied)
        for choice in choices:
            ms, rates = [1e3 * s for s in seconds[choice]], [moved / s / 1e9 for s in seconds[choice]]
            cells = [_three(ms), _three(rates), _three([100 * share for share in shares[choice]]) + " %"]
            print(f"| {name} | {choice} | {' | '.join(cells)} |")


def _three(values: list[float]) -> str:
    return " / ".join(f"{f(values):.1f}" for f in (min, statistics.median, max))


if __name__ == "__main__":
    flags.run(main, sys.argv[1:], "fused.py")
