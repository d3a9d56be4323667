"""Labels in, sealed shards and folds out."""
