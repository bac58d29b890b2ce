#!/usr/bin/python3
"""What PyTorch makes of a model that CyxWiz trained.

  tests/support/torch_eval.py SPEC MODEL DATA_DIR

Builds the spec's network in PyTorch, loads MODEL (safetensors) into it by its state_dict keys, strictly, and
evaluates the whole test part. Prints {"test_accuracy": …, "test_loss": …}.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch_model  # noqa: E402


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    spec_path, model_path, data_dir = sys.argv[1:]
    spec = json.loads(Path(spec_path).read_text())
    model = torch_model.Model(spec)
    tensors, metadata = torch_model.load_safetensors(model_path)
    if metadata.get("format") != "pt":
        sys.exit(f"{model_path}: expected format \"pt\" in the metadata")
    model.load_state_dict(tensors, strict=True)
    model.eval()
    pixels, labels = torch_model.load_part(data_dir, spec["data"]["dataset"], "test")
    loss = torch_model.make_loss(spec)
    classes = spec["loss"]["type"] == "CrossEntropyLoss" or spec["loss"].get("target") == "one_hot"
    total, correct = 0.0, 0
    with torch.no_grad():
        for begin in range(0, len(labels), 1000):
            x = torch_model.transform(spec, pixels[begin:begin + 1000])
            target = torch.from_numpy(labels[begin:begin + 1000].astype("int64"))
            output = model(x)
            total += float(loss(output, torch_model.make_target(spec, output, x, target))) * len(target)
            correct += int((output.argmax(1) == target).sum()) if classes else 0
    print(json.dumps({"test_accuracy": correct / len(labels), "test_loss": total / len(labels)}))


if __name__ == "__main__":
    main()
