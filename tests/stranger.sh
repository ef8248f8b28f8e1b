#!/usr/bin/env bash
# What a stranger does: clone, install, run the README's commands, look at the result.
# usage: stranger.sh NEW_FOLDER, in an empty virtual environment
set -euo pipefail
folder=$1
git clone -q "$(dirname "$0")/.." "$folder"
cd "$folder"
pip install -q -e . && jgaprune demo
for file in report.json report.txt masks.npz params pruned.safetensors \
  plots/fitness_and_accuracy.png plots/sparsity_per_layer.png plots/baselines.png; do
  [ -e "jgaprune-demo/$file" ] || { echo "the demo wrote no $file"; exit 1; }
done
jgaprune evaluate --run jgaprune-demo --eval-data jgaprune/assets/digits_test.npz --json
jgaprune inspect jgaprune/assets/digits_cnn.pth --json > inspected.json
python - <<'PYTHON'
import json

report = json.load(open("jgaprune-demo/report.json"))
ours = report["accuracy"]["pruned"]
best = max(b[k]["accuracy"] for b in report["baselines"].values() for k in ("raw", "repaired"))
lost = report["accuracy"]["dense"] - report["baselines"]["magnitude"]["raw"]["accuracy"]
assert lost >= 0.10, f"magnitude loses only {lost:.3f}: the demo shows nothing"
assert ours > best, f"evolved {ours:.4f} does not stand above the best one-shot mask {best:.4f}"
assert json.load(open("inspected.json"))["architecture"]["name"] == "digits_cnn"
print(f"evolved {ours:.4f}, best one-shot {best:.4f}, magnitude lost {lost:.4f}")
PYTHON
