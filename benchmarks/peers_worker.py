"""The discriminator step of Opacus and JAX: the worker of `benchmarks/peers.py`, in an environment without TensorFlow.

Reads one request a line and answers each with one line, in JSON. `{"implementation", "architecture", "file"}` loads
weights and examples from an .npz file and answers with the clipped sum, all variables in one list, in Keras's order and
shapes. Then `{"implementation"}` takes one step and answers with its seconds. The first line, unasked, tells versions.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import opacus
import torch
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch.nn.functional import leaky_relu, pad

from benchmarks.cases import CLIP_NORM, FILTERS, KERNEL_SIZE, LEAK, LSTM_UNITS, STRIDE, WINDOW


class Conv(torch.nn.Module):
    """Two convolutions and a dense layer, windows (n, seconds, signals) -> logits (n,)."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv1d(WINDOW[1], FILTERS, KERNEL_SIZE, STRIDE)
        self.second = torch.nn.Conv1d(FILTERS, FILTERS, KERNEL_SIZE, STRIDE)
        self.dense = torch.nn.Linear(WINDOW[0] // STRIDE**2 * FILTERS, 1)

    def forward(self, values):
        values = values.transpose(1, 2)
        for layer in (self.first, self.second):
            values = leaky_relu(layer(pad(values, same_padding(values.shape[2]))), LEAK)
        return self.dense(values.transpose(1, 2).flatten(1))[:, 0]  # Keras flattens by second, then by filter


class LSTM(torch.nn.Module):
    """An LSTM and a dense layer, windows (n, seconds, signals) -> logits (n,)."""

    def __init__(self):
        super().__init__()
        self.lstm = opacus.layers.DPLSTM(WINDOW[1], LSTM_UNITS, batch_first=True)
        second_bias = self.lstm.cells[0].hh.bias  # Keras has but one
        second_bias.requires_grad_(False).zero_()
        self.dense = torch.nn.Linear(LSTM_UNITS, 1)

    def forward(self, values):
        return self.dense(self.lstm(values)[0][:, -1])[:, 0]


def same_padding(steps: int) -> tuple[int, int]:
    """What 'same' means to Keras: with a stride, one side may get more."""
    padding = max((-(-steps // STRIDE) - 1) * STRIDE + KERNEL_SIZE - steps, 0)
    return padding // 2, padding - padding // 2


def transposed(weights: list) -> list:
    """Keras's axes to torch's, and back: a kernel's are the other way round."""
    return [weight.transpose(*reversed(range(weight.ndim))) for weight in weights]


def opacus_step(implementation: str, architecture: str, weights: list, examples: np.ndarray) -> Callable:
    """A step of Opacus, by gradients of each sample, or by ghost clipping where Opacus has it."""
    ghost = implementation == "opacus_ghost"
    network = {"conv": Conv, "lstm": LSTM}[architecture]()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if architecture == "lstm":  # Keras: kernel, recurrent kernel, bias, dense; here the bias comes second
        order = [0, 2, 1, 3, 4]
        parameters = [parameters[place] for place in order]
    with torch.no_grad():
        for parameter, weight in zip(parameters, transposed(weights)):
            parameter.copy_(torch.tensor(np.ascontiguousarray(weight)))
    module = opacus.grad_sample.get_gsm_class("ghost" if ghost else "hooks")(
        network, loss_reduction="sum", **({"max_grad_norm": CLIP_NORM} if ghost else {})
    )
    optimizer = (DPOptimizerFastGradientClipping if ghost else DPOptimizer)(
        torch.optim.SGD(parameters, 1.0),
        noise_multiplier=0.0,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    criterion = torch.nn.BCEWithLogitsLoss(reduction="sum")
    if ghost:
        criterion = DPLossFastGradientClipping(module, optimizer, criterion, "sum")
    values, ones = torch.tensor(examples[:, 0]), torch.ones(len(examples))

    def step():
        optimizer.zero_grad()
        criterion(module(values), ones).backward()
        (optimizer.accumulate if ghost else optimizer.clip_and_accumulate)()
        return transposed([parameter.summed_grad.numpy() for parameter in parameters])

    return step


def jax_logits(architecture: str, weights: list, values: jax.Array) -> jax.Array:
    """Windows (n, seconds, signals) -> logits (n,)."""
    if architecture == "conv":
        for kernel, bias in zip(weights[0:4:2], weights[1:4:2]):
            convolved = jax.lax.conv_general_dilated(
                values, kernel, (STRIDE,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
            )
            values = jax.nn.leaky_relu(convolved + bias, LEAK)
        return (values.reshape(len(values), -1) @ weights[4] + weights[5])[:, 0]
    kernel, recurrent, bias, dense_kernel, dense_bias = weights

    def second(state, gates):
        hidden, cell = state
        entry, forget, candidate, exit_ = jnp.split(gates + hidden @ recurrent, 4, axis=-1)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(entry) * jnp.tanh(candidate)
        return (jax.nn.sigmoid(exit_) * jnp.tanh(cell), cell), None

    zeros = jnp.zeros((len(values), LSTM_UNITS))
    # Unrolled by 4 it is faster than not at all, and than wholly.
    (hidden, _), _ = jax.lax.scan(second, (zeros, zeros), (values @ kernel + bias).swapaxes(0, 1), unroll=4)
    return (hidden @ dense_kernel + dense_bias)[:, 0]


def jax_step(implementation: str, architecture: str, weights: list, examples: np.ndarray) -> Callable:
    """A step of JAX: the gradient of each unit by vmap, clipped and summed, compiled."""

    def unit_loss(weights, values):
        return jnp.mean(jax.nn.softplus(-jax_logits(architecture, weights, values)))

    @jax.jit
    def clipped_sum(weights, examples):
        gradients = jax.vmap(jax.grad(unit_loss), (None, 0))(weights, examples)
        squares = sum(jnp.sum(gradient.reshape(len(examples), -1) ** 2, 1) for gradient in gradients)
        factors = jnp.minimum(1.0, CLIP_NORM / jnp.sqrt(squares))
        return [jnp.einsum("u,u...->...", factors, gradient) for gradient in gradients]

    weights, examples = [jnp.asarray(weight) for weight in weights], jnp.asarray(examples)
    return lambda: jax.block_until_ready(clipped_sum(weights, examples))


def load(implementation: str, architecture: str, file: str) -> Callable:
    """Makes the step of one implementation on the weights and examples of a file."""
    with np.load(file) as arrays:
        weights = [arrays[name] for name in arrays.files if name != "examples"]
        examples = arrays["examples"]
    make = jax_step if implementation == "jax" else opacus_step
    return make(implementation, architecture, weights, examples)


def main() -> None:
    """Answers requests until there are no more."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints must not look like an answer
    torch.set_num_threads(os.cpu_count())  # JAX and TensorFlow take as many by themselves
    print(json.dumps({name: version(name) for name in ("opacus", "torch", "jax")}), file=answers, flush=True)
    steps = {}
    for line in sys.stdin:
        request = json.loads(line)
        name = request["implementation"]
        if "file" in request:
            steps[name] = load(**request)
            answer = np.concatenate([np.ravel(part) for part in steps[name]()]).tolist()
        else:
            start = time.perf_counter()
            steps[name]()
            answer = time.perf_counter() - start
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
