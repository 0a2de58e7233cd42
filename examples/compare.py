"""Where run A beats run B, language by language: python examples/compare.py RUN_A RUN_B

Both must have been scored by `mere-ds evaluate` on the same shards.
"""

import sys

from mere_ds.evaluation.comparison import compare_runs


def main(run_a: str, run_b: str) -> None:
    result = compare_runs([run_a], [run_b])
    for language, row in {**result["languages"], "average": result["average"]}.items():
        low, high = row["interval"]
        print(
            f"{language}: triple F1 {row['a']:.1f} and {row['b']:.1f}, difference {row['difference']:+.1f} "
            f"(95 % {low:+.1f} to {high:+.1f}, p = {row['p']:.3f})"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
