"""Sealed shards in, a trained fold and its predictions out."""
