"""Checks on personas: whether they lead back to their response, say something of their own, and may be published."""
