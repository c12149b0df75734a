"""Options that several readers share; what only one of them reads is declared beside it."""

from nvc_jax.core.options import Option

DIR = Option("data.dir", "", "folder of the files, or the file where the data are one")
NAME = Option("data.name", "", "name of the TFDS data set")
TRAIN_SPLIT = Option(
    "data.train_split", "train", "TFDS split; of 3D-RecGAN's folders the first word"
)
TEST_SPLIT = Option("data.test_split", "test", "TFDS split; of 3D-RecGAN's folders the first word")
VALIDATION_FRACTION = Option(
    "data.validation_fraction", 0.1, "cut from the training split", at_least=0.0, below=1.0
)
HOLDOUT_EVERY = Option(
    "data.holdout_every", 5, "example i tests where i % this is 0, validates at 1", at_least=3
)
IMAGE_KEY = Option("data.image_key", "image", "name of the field of images")
LABEL_KEY = Option("data.label_key", "label", "name of the field of labels")
IMAGE_SIZE = Option(
    "data.image_size", (0, 0), "images are resized to height, width; 0: as stored", at_least=0
)
CHANNELS = Option(
    "data.channels", 0, "1 gray or depth, 3 color, 4 color and depth; 0: as stored", (0, 1, 3, 4)
)
NUM_POINTS = Option("data.num_points", 2048, "of every cloud after resampling", at_least=1)
VIEW_SEED = Option(
    "data.view_seed", 0, "of cameras, rooms and hands; not seed: test views stay the same"
)
SOURCE_LANGUAGE = Option("data.source_language", "de", "suffix of its files, name of its folder")
TARGET_LANGUAGE = Option("data.target_language", "en", "suffix of its files, name of its folder")
NUM_SCENES = Option(
    "data.num_scenes", 2000, "scenes composed, rooms or hands drawn for training", at_least=1
)
NUM_HELDOUT_SCENES = Option(
    "data.num_heldout_scenes", 200, "for validation, and for the test", at_least=1
)
