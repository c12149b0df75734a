"""Evaluates a trained model: nvc-eval --workdir=runs/digits.

Needs nothing but the work directory; keys under --config.data and --config.eval can be changed.
With a model of text, `--translate < FILE` translates lines. In a checkout, `python eval.py` is the same
program.
"""

import functools
import sys

from nvc_jax.programs import cli

SUMMARY = ("cluster_accuracy_hungarian", "kmeans_accuracy_hungarian_inputs")


def main(arguments: list[str]) -> int:
    """Parses the flags and evaluates; returns the exit code."""
    parser = cli.make_parser(__doc__)
    parser.add_argument("--workdir", required=True, help="directory of the run")
    parser.add_argument("--checkpoint", default="latest", help="latest (default), best, or a step")
    parser.add_argument("--nofigures", action="store_true", help="numbers only")
    parser.add_argument(
        "--report", action="store_true", help="also write report.html, a page that opens offline"
    )
    parser.add_argument(
        "--translate",
        action="store_true",
        help="translate standard input line by line, and no more",
    )
    flags, overrides = cli.parse_overrides(parser, arguments)
    cli.start(flags)
    if flags.translate:
        return translate(flags.workdir, flags.checkpoint, overrides)

    from nvc_jax.evaluation import evaluate  # after the flags: a mistake is told at once
    from nvc_jax.training import parallel

    results = evaluate(
        flags.workdir,
        flags.checkpoint,
        overrides=overrides,
        figures=not flags.nofigures,
        report=flags.report,
    )
    if parallel.process_index() > 0:
        return 0
    for name, value in results["metrics"].items():
        reason = results["reasons"].get(name, "")
        print(f"{name:34s} {f'none: {reason}' if value is None else f'{value:.4f}'}")
    found, baseline = (results["metrics"].get(name) for name in SUMMARY)
    comparable = results["counts"]["anchors"] == results["counts"]["classes"]
    if comparable and found is not None and baseline is not None:
        print(
            f"Accuracy of the anchors as classes: {found:.3f}; of k-means on the inputs, without a "
            f"network: {baseline:.3f}."
        )
    print(f"Report: {flags.workdir}/results.json, embeddings.npz and figures/")
    if flags.report:
        print(f"Page to look at: {flags.workdir}/report.html")
    return 0


def translate(workdir: str, checkpoint: str, overrides: cli.Overrides) -> int:
    """Prints the translation of every line of standard input; returns the exit code."""
    from nvc_jax.evaluation import load

    model = load(workdir, checkpoint, overrides=overrides)
    lines = [line.removesuffix("\n") for line in sys.stdin]
    for text in model.reconstruct(lines) if lines else ():  # type: ignore[arg-type]
        print(text)
    return 0


run = functools.partial(cli.run, main)

if __name__ == "__main__":
    sys.exit(run())
