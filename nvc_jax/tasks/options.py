"""Options that several tasks share."""

from nvc_jax.core.options import Option

KEEP_OBSERVED = Option(
    "eval.keep_observed", True, "voxels and points that were seen stay in a completion"
)
SKIP_OPTIONS = (
    Option("model.skips", True, "feature maps of the encoder go to the decoder beside the code"),
    Option(
        "model.skip_dropout",
        0.1,
        "share of training examples that go without them",
        at_least=0,
        at_most=1,
    ),
)
NUM_POSITIONS = Option(
    "loss.num_positions",
    8,
    "tokens or squares of an example that the latent terms see",
    at_least=1,
)
