"""Trains the letters model, on a GPU where JAX finds one.

Where SM_CHECKPOINT_DIR names a folder, training goes on from what it holds: after any epoch it ends with the same
weights as one that was never interrupted.
"""

import argparse
import os
from pathlib import Path
from typing import Final

import jax.numpy as jnp
import numpy as np

from examples.letters import network
from functions.training import job

PACKAGE: Final = "examples.letters"
BATCH: Final = 64


def arguments(parser: argparse.ArgumentParser) -> None:
    """The hyperparameters."""
    parser.add_argument("--learning-rate", type=float, default=0.002)
    parser.add_argument("--epochs", type=int, default=12)


def train(options: argparse.Namespace, values: job.Values, labels: job.Labels) -> network.Weights:
    """The weights, saved after every epoch where there is a place for that. Raises SystemExit for too few rows."""
    if len(values) < BATCH:
        raise SystemExit(f"{len(values)} rows: the network trains on {BATCH} at a time, and needs as many")
    print(f"{options.epochs} epochs on {network.device()}", flush=True)
    pixels, truth = np.nan_to_num(values).astype(np.float32), labels.astype(np.float32)
    folder = os.environ.get("SM_CHECKPOINT_DIR")
    checkpoint = Path(folder) / "network.npz" if folder else None
    state = network.begin(options.seed)
    if checkpoint and checkpoint.exists():
        state = network.resume(state, checkpoint)
        print(f"going on after {state.epochs} of {options.epochs} epochs", flush=True)
    while state.epochs < options.epochs:
        # Each epoch's order depends on its number alone, so that one that goes on sees what it would have seen.
        order = np.random.default_rng((options.seed, state.epochs)).permutation(len(values))
        whole = order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)
        for rows in whole:
            state = network.step(state, jnp.asarray(pixels[rows]), jnp.asarray(truth[rows]), options.learning_rate)
        state = state._replace(epochs=state.epochs + 1)
        if checkpoint:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            network.keep(state, checkpoint)
    return state.weights


def save(weights: network.Weights, folder: Path) -> None:
    """Write the model for inference.py."""
    network.save(weights, folder / network.FILE)


def main() -> None:
    """Train, measure on held-out rows, and write what was asked for."""
    job.run(PACKAGE, description=__doc__, arguments=arguments, train=train, save=save)


if __name__ == "__main__":
    main()
