"""A trained model as one bundle, and what it says of other studies."""
