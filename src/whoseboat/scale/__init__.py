"""The same build on many machines: cut into tasks, each a dataset folder of its own, and joined."""
