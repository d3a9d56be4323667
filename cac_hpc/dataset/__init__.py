"""Studies and labels in, sealed shards and folds out."""
