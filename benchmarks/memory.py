"""How much memory one clipped gradient takes as the network gets wider: beside the plain one and tensorflow-privacy's.

    python -m benchmarks.memory

Gradients of each unit would take batch x weights; the project's way takes batch x activations. Every step is taken in a
process of its own. Writes `benchmarks/memory.json`.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.discriminator_step import build, draw_batch, implementations

RESULTS = Path(__file__).parent / "memory.json"
BATCH = 64
WIDTHS = (64, 128, 256, 512)  # filters of both convolutions
IMPLEMENTATIONS = ("plain", "fused", "tensorflow_privacy")


def peak(implementation: str, width: int) -> float:
    """Megabytes that one step adds to the most that this process has taken so far."""
    batch = draw_batch("window", BATCH)
    function = implementations(build("conv", width), batch)[implementation]
    function.get_concrete_function()  # traced before: only the step itself counts
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    function(*batch)[0].numpy()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # Linux counts in kilobytes


def main() -> None:
    """Measures every width and implementation, prints and writes the table."""
    rows = []
    for width in WIDTHS:
        weights = build("conv", width).count_params()
        for implementation in IMPLEMENTATIONS:
            command = [sys.executable, "-m", "benchmarks.memory", implementation, str(width)]
            output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            row = {"filters": width, "weights": weights, "batch": BATCH, "implementation": implementation}
            rows.append(row | {"megabytes": round(float(output))})
            print(f"{width} filters, {weights} weights, {implementation}: {float(output):.0f} MB")
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(peak(sys.argv[1], int(sys.argv[2])))
    else:
        main()
