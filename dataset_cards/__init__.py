"""Card templates for datasets: text only, read with `importlib.resources`."""
