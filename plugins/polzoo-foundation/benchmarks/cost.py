"""What does it cost? ``python benchmarks/cost.py`` prints parameters, and CPU seconds of a pair on this machine."""

from __future__ import annotations

import time

import torch

import polzoo

SIZE = (320, 736)


def seconds(call) -> float:
    """CPU seconds of one call, the better of two."""
    taken = []
    for _ in range(2):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return min(taken)


def main() -> None:
    torch.set_num_threads(1)
    pair = torch.rand(2, 1, 3, *SIZE)
    for spec in ("foundation(pretrained=false)", "raft"):
        model = polzoo.build(spec).eval()
        frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
        trained = sum(p.numel() for p in model.parameters()) - frozen
        with torch.inference_mode():
            times = {n: seconds(lambda m=model, n=n: m(*pair, iterations=n)) for n in (1, 32)}
        shown = ", ".join(f"{n} iteration{'s' * (n > 1)} {taken:.1f} s" for n, taken in times.items())
        print(f"{spec:30} {frozen:>12,} frozen {trained:>12,} trained   {shown}", flush=True)


if __name__ == "__main__":
    main()
