"""What a process does that only joins its group: importable, for it runs in processes of its own."""

import sys

import deepspeed
import torch

from mere_ds.errors import MachineError, UserError
from mere_ds.ranks.rendezvous import join


def join_and_share(timeout: float) -> None:
    """Join, add up all ranks by DeepSpeed and share a value in the store; or say in one line why not."""
    try:
        store = join("gloo", timeout)
        total = torch.tensor([torch.distributed.get_rank() + 1.0])
        deepspeed.comm.all_reduce(total)
        store.set(f"key{total.item():.0f}", "value")
        print("joined", total.item(), store.get(f"key{total.item():.0f}"))
        torch.distributed.destroy_process_group()
    except (MachineError, UserError) as error:
        print(type(error).__name__, error)


def join_and_name_programs(timeout: float) -> None:
    """Join, and say which programs that has started: compilers, and what looks for them."""
    started = []
    sys.addaudithook(lambda event, args: started.append(args[0]) if event == "subprocess.Popen" else None)
    join("gloo", timeout)
    print("started", started)
    torch.distributed.destroy_process_group()
