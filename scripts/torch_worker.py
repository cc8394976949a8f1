"""The PyTorch side of bench_training.py: reads requests, a JSON object a line, and answers.

Needs PyTorch and NumPy alone, so that it runs in an environment of its own.
"""

import json
import sys
import time

import numpy as np
import torch

_PREPARED: dict[str, tuple] = {}


def network(p: int, q: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(p, q), torch.nn.ReLU(), torch.nn.Linear(q, 1)
    )


def make_step(model, optimizer):
    loss_of = torch.nn.BCEWithLogitsLoss()

    def step(X, y):
        optimizer.zero_grad()
        loss = loss_of(model(X)[:, 0], y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def measure(form, data, q, batch_size, rate, n_epochs, **_):
    """Microseconds a step: the whole loop with shuffling, gathering and the loss's sum."""
    key = f"{form} {q} {batch_size}"
    began = time.perf_counter()
    if key not in _PREPARED:
        arrays = np.load(data)
        X = torch.from_numpy(arrays["X"])
        y = torch.from_numpy(arrays["y"].astype(np.float32))
        model = network(X.shape[1], q)
        step = make_step(model, torch.optim.SGD(model.parameters(), lr=rate))
        if form == "compiled":
            step = torch.compile(step)
        step(X[:batch_size], y[:batch_size])
        _PREPARED[key] = (X, y, step)
    X, y, step = _PREPARED[key]
    first_seconds = time.perf_counter() - began
    began = time.perf_counter()
    n_steps = 0
    for _ in range(n_epochs):
        total = torch.zeros(())
        for rows in torch.randperm(len(X)).split(batch_size):
            total += step(X[rows], y[rows])
            n_steps += 1
    seconds = time.perf_counter() - began
    return {"us": 1e6 * seconds / n_steps, "first_seconds": first_seconds}


def follow(optimizer, data, eps, **_):
    """Trains in float64 from given weights on given mini-batches; returns the weights."""
    arrays = np.load(data)
    X = torch.from_numpy(arrays["X"])
    y = torch.from_numpy(arrays["y"].astype(np.float64))
    w1, b1, w2, b2 = (torch.from_numpy(arrays[f"a{i}"]) for i in range(4))
    model = network(X.shape[1], w1.shape[1]).double()
    with torch.no_grad():
        for layer, w, b in ((model[0], w1, b1), (model[2], w2, b2)):
            layer.weight.copy_(w.T)
            layer.bias.copy_(b)
    parameters = model.parameters()
    chosen = {
        "sgd": lambda: torch.optim.SGD(parameters, lr=0.1),
        "momentum": lambda: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        "adam": lambda: torch.optim.Adam(parameters, lr=0.01, eps=eps),
    }[optimizer]()
    step = make_step(model, chosen)
    for rows in arrays["batches"]:
        step(X[rows], y[rows])
    layers = ((model[0].weight.T, model[0].bias), (model[2].weight.T, model[2].bias))
    return {"arrays": [a.detach().numpy().tolist() for layer in layers for a in layer]}


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps(torch.__version__), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"measure": measure, "follow": follow}[request["do"]](**request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
