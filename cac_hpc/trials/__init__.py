"""Other settings of model and training, tried on training and validation patients; each fold chooses one."""
