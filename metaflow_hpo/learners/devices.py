"""Where PyTorch trains, and what it raises where there is not enough memory."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metaflow_hpo.errors import MetaflowHPOError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]


def find_device(device: Device) -> "torch.device":
    """Return the PyTorch device; `auto` takes a GPU if there is one.

    Raises:
        MetaflowHPOError: If `cuda` is asked for and PyTorch finds none.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise MetaflowHPOError("device='cuda' needs a CUDA GPU, and PyTorch finds none: use device='cpu' or 'auto'.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def has_gpu() -> bool:
    """Tell whether PyTorch finds a GPU; it is imported, which takes a second, only where there is a driver at all."""
    if shutil.which("nvidia-smi") is None and not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return torch.cuda.is_available()


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn what PyTorch raises where there is not enough memory into a `MemoryError`."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error).partition("\n")[0]) from error
    except RuntimeError as error:  # on the CPU it has no type of its own
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise MemoryError(str(error).partition("\n")[0]) from error
