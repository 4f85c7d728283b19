"""Card templates for models: text only, read with `importlib.resources`."""
