"""The Opacus side of bench_gradients.py: reads requests, a JSON object a line, and answers.

Needs PyTorch, Opacus and NumPy alone, so that it runs in an environment of its own.
"""

import json
import sys
import time
import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")
_STEPS: dict[str, object] = {}


def make_step(form, data, p, q, batch_size):
    """One step on the given mini-batches, one after the other."""
    from opacus import PrivacyEngine
    from torch.utils.data import DataLoader, TensorDataset

    arrays = np.load(data)
    X = torch.from_numpy(arrays["X"])
    y = torch.from_numpy(arrays["y"].astype(np.float32))
    model = torch.nn.Sequential(
        torch.nn.Linear(p, q), torch.nn.ReLU(), torch.nn.Linear(q, 1)
    )
    loss_of = torch.nn.BCEWithLogitsLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    if form != "plain":
        loader = DataLoader(TensorDataset(X, y), batch_size=batch_size)
        made = PrivacyEngine(accountant="rdp").make_private(
            module=model,
            optimizer=optimizer,
            data_loader=loader,
            criterion=loss_of,
            noise_multiplier=1.0,
            max_grad_norm=1.0,
            poisson_sampling=False,
            grad_sample_mode="ghost" if form == "ghost" else "hooks",
        )
        model, optimizer = made[0], made[1]
        if form == "ghost":
            loss_of = made[2]

    def step(i):
        start = i * batch_size % (len(X) - batch_size)
        rows, labels = X[start : start + batch_size], y[start : start + batch_size]
        optimizer.zero_grad()
        loss_of(model(rows)[:, 0], labels).backward()
        optimizer.step()

    return step


def measure(form, data, p, q, batch_size, n_steps):
    """Microseconds a step, mini-batches taken without shuffling."""
    key = f"{form} {p} {q} {batch_size}"
    if key not in _STEPS:
        _STEPS[key] = make_step(form, data, p, q, batch_size)
        _STEPS[key](0)
    began = time.perf_counter()
    for i in range(n_steps):
        _STEPS[key](i)
    return {"microseconds": (time.perf_counter() - began) / n_steps * 1e6}


def main() -> None:
    import opacus

    torch.set_num_threads(int(sys.argv[1]))
    print(
        json.dumps(f"PyTorch {torch.__version__}, Opacus {opacus.__version__}"), flush=True
    )
    for line in sys.stdin:
        print(json.dumps(measure(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
