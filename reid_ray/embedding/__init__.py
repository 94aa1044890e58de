"""Train and apply embedding models: pure PyTorch, told its rank and device from outside."""
