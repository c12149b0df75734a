"""The method: anchors, distances, triplets, loss terms, bottleneck, autoencoder."""
