"""From any source to a table, a schema, a split and encoded examples. No PyTorch here."""
