"""Keras 3's ConvLSTM2D, one job a line of standard input: see benchmarks/convlstm_layers.py.

    python keras_worker.py tensorflow|jax FILTERS BATCH STEPS SIDE

Runs in an environment of its own. Prints the versions, then of every line, "inference" or
"training", the process time in ms.
"""

import importlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

BACKEND, (FILTERS, BATCH, STEPS, SIDE) = sys.argv[1], map(int, sys.argv[2:])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ["KERAS_BACKEND"] = BACKEND
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

keras = importlib.import_module("keras")  # which mypy's environment has not, nor the backends
np = importlib.import_module("numpy")
framework = importlib.import_module(BACKEND)


def jobs_of_jax(layer: Any, x: Any, weight: Any) -> dict[str, Callable[[], object]]:
    """Compiled by XLA; gradients of weights and x."""
    jax = framework
    trained = [v.value for v in layer.trainable_variables]
    fixed = [v.value for v in layer.non_trainable_variables]  # the state of a random generator

    def forward(trained: Any, x: Any) -> Any:
        return layer.stateless_call(trained, fixed, x)[0]

    infer = jax.jit(forward)
    train = jax.jit(jax.grad(lambda trained, x: (forward(trained, x) * weight).sum(), (0, 1)))
    return {
        "inference": lambda: jax.block_until_ready(infer(trained, x)),
        "training": lambda: jax.block_until_ready(train(trained, x)),
    }


def jobs_of_tensorflow(layer: Any, x: Any, weight: Any) -> dict[str, Callable[[], object]]:
    """As a graph, with oneDNN; gradients of weights and x."""
    tf = framework
    x, weight = tf.constant(x), tf.constant(weight)

    def train() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x) * weight)
        return tape.gradient(total, [x, *(v.value for v in layer.trainable_variables)])

    infer, trained = tf.function(lambda: layer(x)), tf.function(train)
    return {"inference": lambda: infer().numpy(), "training": lambda: trained()[0].numpy()}


def main() -> None:
    if BACKEND == "tensorflow":
        framework.config.threading.set_intra_op_parallelism_threads(1)
        framework.config.threading.set_inter_op_parallelism_threads(1)
    layer = keras.layers.ConvLSTM2D(FILTERS, 3, padding="same", return_sequences=True)
    rng = np.random.default_rng(0)
    shape = (BATCH, STEPS, SIDE, SIDE, FILTERS)
    x, weight = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
    layer.build(shape)
    make = jobs_of_tensorflow if BACKEND == "tensorflow" else jobs_of_jax
    jobs = make(layer, x, weight)
    print(f"Keras {keras.__version__}, {framework.__name__} {framework.__version__}", flush=True)
    for line in sys.stdin:
        start = time.process_time()
        jobs[line.strip()]()
        print(1000 * (time.process_time() - start), flush=True)


if __name__ == "__main__":
    main()
