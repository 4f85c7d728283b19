"""Reports: one page of HTML, complete by itself, of a dataset folder or of an evaluation; and its charts as PNG."""
