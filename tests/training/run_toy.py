"""Train the toy in a process of its own: `python -m tests.training.run_toy DIRECTORY [KEY=VALUE ...]`, values as JSON."""

import json
import sys
from dataclasses import replace

import torch

from tests.training.toy import SETTINGS, ToyConfig, ToyModelConfig
from torsor.training import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    changes = {key: json.loads(value) for key, value in (argument.split("=") for argument in sys.argv[2:])}
    model = ToyModelConfig(**{key: changes.pop(key) for key in ("dropout", "normalise") if key in changes})
    result = train(
        ToyConfig().build(),
        model,
        replace(SETTINGS, **changes),
        sys.argv[1],
        resume=True,
        augment=True,
        quiet=True,
    )
    print(json.dumps(dict(result.test)))
