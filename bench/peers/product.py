"""Products of a linear layer by the OpenBLAS in numpy."""
import itertools

import numpy

CACHES = 96 << 20  # bytes, which the weights together exceed, so that each comes from memory


def openblas_product(case):
    n, rows, columns = case["n"], case["rows"], case["columns"]
    random = numpy.random.default_rng(1)

    def matrix(*shape):
        return random.standard_normal(shape, dtype=numpy.float32)

    x, grad = matrix(n, columns), matrix(n, rows)
    weights = itertools.cycle([matrix(rows, columns) for _ in range(max(1, min(64, CACHES // (4 * rows * columns))))])
    out = matrix(n, rows if case["product"] == "forward" else columns)

    def by_weight():
        target = next(weights)
        target += grad.T @ x

    runs = {"forward": lambda: numpy.matmul(x, next(weights).T, out=out),
            "by_input": lambda: numpy.matmul(grad, next(weights), out=out),
            "by_weight": by_weight}
    return runs[case["product"]], {"flops": 2 * n * rows * columns}
