"""Environment of a computation: the libraries and the processor that floating-point results depend on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch


def environment() -> Mapping[str, str]:
    """Return what floating-point results depend on: libraries, BLAS, threads, CPU; and a hash over all of it.

    Training is exact, but features reach the LoRA of the output rows through whitening in float64: in another
    environment a rounded input could, though none was seen to, be one step of its grid off.
    """
    parts = {
        "torch": torch.__version__,
        "torch_build": hashlib.sha256(torch.__config__.show().encode()).hexdigest()[:16],
        "blas": "mkl" if "USE_MKL=ON" in torch.__config__.show() else "other",
        "threads": str(torch.get_num_threads()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpu_flags": hashlib.sha256(_cpu_flags().encode()).hexdigest()[:16],
        "machine": platform.machine(),
        "numpy": np.__version__,
        "mkl_cbwr": os.environ.get("MKL_CBWR", ""),
    }
    return parts | {
        "hash": hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    }


@cache
def _cpu_flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
