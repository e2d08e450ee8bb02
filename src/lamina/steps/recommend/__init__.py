"""The five steps where rows say who had what: the task "recommend"."""
