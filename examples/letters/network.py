"""The letters model itself: a small convolutional network in JAX. The same code runs on a GPU and on a CPU.

What JAX finds decides: jax[cuda12] in an image on a GPU, jax[cpu] in the rehearsal.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

FILE: Final = "network.npz"
"""What the model is called in its archive."""
SIDE: Final = 8
INK: Final = 16.0
LEAST_ROWS: Final = 64
"""Fewer rows are filled up to this many, and more to a power of two: each size of its own is compiled anew."""

Weights = dict[str, Any]
"""Arrays by the name of their layer."""


def initial(seed: int) -> Weights:
    """Weights to begin with, as He et al. (2015, Delving Deep into Rectifiers) draw them."""
    shapes = {"first": (3, 3, 1, 16), "second": (3, 3, 16, 32), "dense": (4 * 4 * 32, 64), "last": (64, 1)}
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    weights: Weights = {}
    for key, (name, shape) in zip(keys, shapes.items(), strict=True):
        inputs = int(np.prod(shape[:-1]))
        weights[name] = jax.random.normal(key, shape) * np.sqrt(2 / inputs)
        weights[f"{name}_bias"] = jnp.zeros(shape[-1])
    return weights


def logits(weights: Weights, pixels: jax.Array) -> jax.Array:
    """One number a row, above 0 where the network says 1. `pixels` has a row of 64 a digit, from 0 to INK."""
    image = pixels.reshape(-1, SIDE, SIDE, 1) / INK
    for name, stride in (("first", 1), ("second", 2)):
        convolved = jax.lax.conv_general_dilated(
            image, weights[name], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        image = jax.nn.relu(convolved + weights[f"{name}_bias"])
    hidden = jax.nn.relu(image.reshape(image.shape[0], -1) @ weights["dense"] + weights["dense_bias"])
    found: jax.Array = (hidden @ weights["last"] + weights["last_bias"])[:, 0]
    return found


def loss(weights: Weights, pixels: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean log loss of a batch."""
    found = logits(weights, pixels)
    return jnp.mean(jnp.maximum(found, 0) - found * labels + jnp.log1p(jnp.exp(-jnp.abs(found))))


class State(NamedTuple):
    """A training that goes on: the weights, both moments of Adam, how many steps and epochs are done."""

    weights: Weights
    first: Weights
    second: Weights
    steps: Any
    epochs: int


def begin(seed: int) -> State:
    """Where a training begins."""
    weights = initial(seed)
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return State(weights, zeros, zeros, jnp.zeros((), jnp.int32), 0)


def step(state: State, pixels: jax.Array, labels: jax.Array, rate: float) -> State:
    """One step on a batch."""
    weights, first, second, steps = _adam(state.weights, state.first, state.second, state.steps, pixels, labels, rate)
    return State(weights, first, second, steps, state.epochs)


@jax.jit
def _adam(
    weights: Weights, first: Weights, second: Weights, steps: Any, pixels: jax.Array, labels: jax.Array, rate: float
) -> tuple[Weights, Weights, Weights, Any]:
    """One step of Adam: Kingma and Ba, Adam: A Method for Stochastic Optimization (2015), algorithm 1."""
    gradient = jax.grad(loss)(weights, pixels, labels)
    steps = steps + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)

    def moved(weight: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        new: jax.Array = weight - rate * (m / (1 - 0.9**steps)) / (jnp.sqrt(v / (1 - 0.999**steps)) + 1e-8)
        return new

    return jax.tree.map(moved, weights, first, second), first, second, steps


@jax.jit
def _probabilities(weights: Weights, pixels: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(logits(weights, pixels))


def probabilities(weights: Weights, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of 1 for each row; nothing is known of a missing pixel, so it counts as white."""
    rows = len(pixels)
    size = max(LEAST_ROWS, 1 << (rows - 1).bit_length()) if rows else LEAST_ROWS
    filled = np.zeros((size, SIDE * SIDE), dtype=np.float32)
    filled[:rows] = np.nan_to_num(pixels)
    found: NDArray[np.float64] = np.asarray(_probabilities(weights, filled), dtype=float)[:rows]
    return found


def save(weights: Weights, path: Path) -> None:
    """Write weights to a file `*.npz`, which holds arrays and no code."""
    arrays: dict[str, Any] = {name: np.asarray(each) for name, each in weights.items()}
    np.savez(path, **arrays)


def load(path: Path) -> Weights:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: jnp.asarray(stored[name]) for name in stored.files}


def keep(state: State, path: Path) -> None:
    """Write a training's state, so that a reader never finds half of it."""
    parts = {"weights": state.weights, "first": state.first, "second": state.second}
    arrays: dict[str, Any] = {
        f"{part}/{name}": np.asarray(each) for part, held in parts.items() for name, each in held.items()
    }
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        np.savez(file, steps=np.asarray(state.steps), epochs=np.asarray(state.epochs), **arrays)
    draft.replace(path)


def resume(state: State, path: Path) -> State:
    """Read what `keep` wrote of a training that began as `state`."""
    with np.load(path, allow_pickle=False) as kept:

        def part(word: str) -> Weights:
            return {name: jnp.asarray(kept[f"{word}/{name}"]) for name in state.weights}

        return State(part("weights"), part("first"), part("second"), jnp.asarray(kept["steps"]), int(kept["epochs"]))


def device() -> str:
    """What JAX computes on: `gpu` or `cpu`."""
    return str(jax.devices()[0].platform)
