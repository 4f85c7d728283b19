"""The bundled sample of preference pairs: text only, read by the source `sample`."""
