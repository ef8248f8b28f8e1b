"""The command line: `jgaprune demo | prune | resume | plan | synthesize | evaluate | export`, and
`inspect | convert | verify | bench`.

Commands read files, call the library and print; nothing is computed here. Results go to
stdout, progress and complaints to stderr. Exit codes: 0 done, 1 no parity (verify) or no room
(plan), 2 bad usage or input, 130 interrupted.
"""

import click

from jgaprune.cache import keep_compiled_programs
from jgaprune.cli.bench import bench
from jgaprune.cli.convert import convert
from jgaprune.cli.demo import demo
from jgaprune.cli.evaluate import evaluate
from jgaprune.cli.export import export
from jgaprune.cli.inspect import inspect
from jgaprune.cli.plan import plan
from jgaprune.cli.prune import prune
from jgaprune.cli.resume import resume
from jgaprune.cli.synthesize import synthesize
from jgaprune.cli.verify import verify
from jgaprune.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Prune pre-trained networks without their training data.

    A population of masks is evolved on the device, all at the sparsity you ask for; the best
    one is repaired and saved beside a report that compares it with one-shot pruning.

    \b
    See it work in a minute or three:
      jgaprune demo
    Prune your own network:
      jgaprune inspect weights.pth
      jgaprune prune --weights weights.pth --sparsity 0.8 --out pruned
      jgaprune evaluate --run pruned --eval-data test.npz
      jgaprune export --run pruned --to torch --out pruned.pth

    Exit codes: 0 done, 1 verify found no parity or plan no room, 2 bad usage or input, 130
    interrupted.
    """
    keep_compiled_programs()


for _command in (
    *(demo, prune, resume, plan, synthesize, evaluate, export, inspect, convert, verify, bench),
):
    main.add_command(_command)
